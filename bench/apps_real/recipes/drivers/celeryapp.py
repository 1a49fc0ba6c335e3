import os
import ask as program
from celery import Celery
folder = os.environ["TMP"] + "/celery"
for name in ("in", "results", "control"): os.makedirs(f"{folder}/{name}", exist_ok=True)
app = Celery(broker="filesystem://", backend=f"file://{folder}/results")
app.conf.broker_transport_options = {"data_folder_in": f"{folder}/in", "data_folder_out": f"{folder}/in", "control_folder": f"{folder}/control"}
app.conf.broker_connection_retry_on_startup = True
@app.task(name="ask")
def ask(model):
    return program.main(model)
