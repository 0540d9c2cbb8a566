"""TFLite from TFLite: the source file itself, and f16, dynamic and int8 forms of a float one by the AI Edge quantiser."""

from __future__ import annotations

import os
import shutil

from verge_toolchain.converters import Artifact, Job
from verge_toolchain.errors import LeftOut


def from_tflite(job: Job) -> Artifact:
    batch = job.source.signature.fixed_batch or 1
    if job.precision == ("int8" if job.source.quantized else "f32"):
        folder = job.folder()
        entry = os.path.basename(job.source.path)
        shutil.copyfile(job.source.path, os.path.join(folder, entry))
        return Artifact([{"dir": folder, "entry": entry, "batch": batch}], "tflite", "source file")
    if job.source.quantized:
        raise LeftOut("the source is quantised already: its file is the int8 variant")
    job.only("f16", "dynamic", "int8")
    calibration = job.calibration() if job.precision == "int8" else None
    return _quantize(job, calibration, batch)


def _quantize(job: Job, calibration, batch: int) -> Artifact:
    import ai_edge_quantizer
    from ai_edge_quantizer import quantizer, recipe

    job.step("quantising")
    made = quantizer.Quantizer(job.source.path)
    if job.precision == "dynamic":
        made.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    elif job.precision == "int8":
        made.load_quantization_recipe(recipe.static_wi8_ai8())
    else:
        _float_casting(made)
    statistics = None
    if calibration:
        key = job.source.signature_name or None
        feed = (calibration.batch(i, batch) for i in range(0, calibration.count, batch))
        statistics = made.calibrate({key: feed})
    result = made.quantize(statistics)
    folder = job.folder()
    path = os.path.join(folder, "model.tflite")
    result.export_model(path, overwrite=True)
    return Artifact([{"dir": folder, "entry": "model.tflite", "batch": batch}], "tflite", f"ai-edge-quantizer {ai_edge_quantizer.__version__}")


def _float_casting(made) -> None:
    from ai_edge_quantizer import algorithm_manager, qtyping

    for operator in (qtyping.TFLOperationName.FULLY_CONNECTED, qtyping.TFLOperationName.CONV_2D, qtyping.TFLOperationName.DEPTHWISE_CONV_2D):
        made.add_weight_only_config(
            regex=".*",
            operation_name=operator,
            num_bits=16,
            algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING,
        )
