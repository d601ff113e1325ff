"""Connections to servers, shared by the adapters that speak to one."""
