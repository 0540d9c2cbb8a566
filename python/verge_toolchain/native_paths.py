"""How long one sample takes by each call that a TensorFlow user would write. Runs in a child process."""

from __future__ import annotations

import statistics
import time

from verge_toolchain import sources
from verge_toolchain.samples import Samples

MAX_SECONDS = 0.5
MAX_RUNS = 300


def run(source: dict, golden: dict, report) -> dict:
    inspected = sources.Inspected.from_json(source)
    if inspected.family != "tensorflow":
        return {}
    import tensorflow as tf

    batch = Samples(golden, inspected.signature, "golden").batch(0, inspected.signature.fixed_batch or 1)
    loaded = tf.saved_model.load(inspected.network)
    function = loaded.signatures[inspected.signature_name]
    specs = function.structured_input_signature[1]
    tensors = {n: tf.constant(v, specs[n].dtype) for n, v in batch.items()}
    for path, call in [*_keras_paths(inspected, batch), ("signature(x)", lambda: function(**tensors)), ("tf.function", _traced(function, tensors))]:
        try:
            times = _measure(call)
        except Exception as e:  # one call path that does not exist for this model says nothing of the others
            print(f"{path}: {e}")
            continue
        report({"path": path, "batch": 1, "n": len(times), "p50_us": round(statistics.median(times) * 1e6, 1)})
    return {}


def _keras_paths(inspected, batch: dict):
    if inspected.kind == "saved_model":
        return []
    from verge_toolchain.sources import keras_model

    model = keras_model.load(inspected.path)
    order = [batch[n] for n in batch]
    x = order[0] if len(order) == 1 else order
    return [
        ("model.predict", lambda: model.predict(x, verbose=0)),
        ("model(x)", lambda: model(x, training=False)),
        ("predict_on_batch", lambda: model.predict_on_batch(x)),
    ]


def _traced(function, tensors: dict):
    import tensorflow as tf

    @tf.function
    def call(given):
        return function(**given)

    return lambda: call(tensors)


def _measure(call) -> list[float]:
    call()
    times = []
    end = time.perf_counter() + MAX_SECONDS
    while len(times) < MAX_RUNS:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        times.append(now - start)
        if now >= end:
            break
    return times
