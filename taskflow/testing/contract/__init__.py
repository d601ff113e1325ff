"""The chapters of the store contract; `taskflow.testing.StoreContract` is all of them."""
