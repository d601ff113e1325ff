# stay idempotent
@app.task
def process_order(order_id):
    order = Order.objects.get(id=order_id)
    if order.status == 'processed':
        return 'Already processed'
    # the work
    order.status = 'processed'
    order.save()
