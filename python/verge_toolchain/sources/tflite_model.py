"""TFLite files."""

from __future__ import annotations

import os

from verge_toolchain.errors import Refused, one_sentence
from verge_toolchain.signature import Tensor, make_signature, with_batch
from verge_toolchain.sources import Inspected

MAX_FILE_BYTES = 2 << 30  # of a flatbuffer
_LOOPS = {"WHILE"}
# tflite.TensorType -> Open Inference name
_DTYPES = {
    0: "FP32",
    1: "FP16",
    2: "INT32",
    3: "UINT8",
    4: "INT64",
    5: "BYTES",
    6: "BOOL",
    7: "INT16",
    9: "INT8",
    10: "FP64",
    12: "UINT64",
    15: "UINT32",
    16: "UINT16",
    18: "BF16",
}
_WAY_OUT = "bring the SavedModel or Keras model it was made from: it is converted here to forms that the engines can run"


def inspect(path: str, signature: str | None, work: str, report) -> Inspected:
    from ai_edge_litert import schema_py_generated as schema

    model = _parse(path)
    operators = _operators(model, schema)
    engine = _engine_that_runs(path, operators)
    graph_index, inputs, outputs, name = _choose(model, signature)
    tensors = model.subgraphs[graph_index].tensors
    found = make_signature(
        [_tensor(tensors[i], n, "input") for n, i in inputs],
        [_tensor(tensors[i], n, "output") for n, i in outputs],
    )
    if all(_free_batch(tensors[i]) for _, i in inputs + outputs):
        if not found.batched() and len({t.shape[0] for t in found.inputs + found.outputs}) == 1:
            found = with_batch(found, "first")
        if found.fixed_batch == 1:
            found.fixed_batch = 0
    notes = [] if engine.startswith("litert") else [f"LiteRT cannot run this file; {engine} answers for the reference"]
    return Inspected(
        kind="tflite",
        path=path,
        work=work,
        signature_name=name,
        signature=found,
        has_loop=bool(operators & _LOOPS),
        reference=engine,
        notes=notes,
        precision=_precision(model),
    )


def _precision(model) -> str:
    """Quantised results of operators make a file int8, quantised constants alone dynamic, 16-bit constants f16."""
    constants, computed = set(), set()
    for graph in model.subgraphs:
        produced = {int(i) for o in graph.operators or [] for i in (o.outputs if o.outputs is not None else [])}
        for i, t in enumerate(graph.tensors or []):
            quantised = t.quantization is not None and t.quantization.scale is not None and len(t.quantization.scale) > 0
            kind = "f16" if t.type == 1 else "int8" if quantised and t.type != 0 else "f32"
            (computed if i in produced else constants).add(kind)
    if "int8" in computed:
        return "int8"
    if "int8" in constants:
        return "dynamic"
    return "f16" if "f16" in constants else "f32"


def _parse(path: str):
    from ai_edge_litert import schema_py_generated as schema

    size = os.path.getsize(path)
    if size > MAX_FILE_BYTES:
        raise Refused(f"the .tflite file is {size >> 20} MB, more than a flatbuffer can be")
    with open(path, "rb") as f:
        data = f.read()
    if len(data) < 16 or data[4:8] != b"TFL3":
        raise Refused("the file is not a TFLite model (its identifier TFL3 is missing)")
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
    except Exception as e:
        raise Refused(f"the .tflite file is damaged: {one_sentence(str(e), 200)}") from e
    if not model.subgraphs or not model.operatorCodes:
        raise Refused("the TFLite file has no graph or no operators")
    for graph in model.subgraphs:
        count = len(graph.tensors if graph.tensors is not None else [])
        used = [graph.inputs, graph.outputs, *(o.inputs for o in graph.operators or []), *(o.outputs for o in graph.operators or [])]
        for indices in used:
            if indices is not None and any(not -1 <= i < count for i in indices):
                raise Refused("the .tflite file is damaged: an operator names a tensor that does not exist")
    return model


def _operators(model, schema) -> set[str]:
    """Names of the operators; custom ones by their own name."""
    builtin = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    names = set()
    for code in model.operatorCodes:
        number = max(code.builtinCode or 0, code.deprecatedBuiltinCode or 0)
        if code.customCode:
            names.add(code.customCode.decode("utf-8", "replace"))
        else:
            names.add(builtin.get(number, f"number {number}"))
    return names


def _engine_that_runs(path: str, operators: set[str]) -> str:
    """The engine whose answers are the reference: LiteRT, else OpenVINO. Neither: the file is refused with the operator's name."""
    try:
        interpreter(path).invoke()
        import ai_edge_litert

        return f"litert {ai_edge_litert.__version__}"
    except Exception as e:
        litert = one_sentence(str(e), 120)
    try:
        import openvino as ov

        ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return f"openvino {ov.__version__.split('-')[0]}"
    except Exception as e:
        openvino = one_sentence(str(e), 120)
    lists = sorted(o for o in operators if "TensorList" in o)
    flex = sorted(o for o in operators if o.startswith("Flex") and o not in lists)
    custom = sorted(o for o in operators if o not in lists and o not in flex and not o.isupper())
    if lists or flex:
        named = ", ".join(o.removeprefix("Flex") for o in lists + flex)
        loop = " in its WHILE loop" if "WHILE" in operators and lists else ""
        raise Refused(
            f"the file uses TensorFlow's own operators {named}{loop} (Flex), which neither LiteRT nor OpenVINO runs; {_WAY_OUT}"
        )
    if custom:
        raise Refused(f"the file uses the custom operator {', '.join(custom)}, which would need a foreign library; {_WAY_OUT}")
    raise Refused(f"neither LiteRT ({litert}) nor OpenVINO ({openvino}) runs this file; {_WAY_OUT}")


def _choose(model, asked: str | None):
    """(subgraph, [(name, tensor)] of inputs, of outputs, signature's name)."""
    signatures = {(s.signatureKey or b"").decode("utf-8", "replace"): s for s in model.signatureDefs or []}
    if asked and asked not in signatures:
        raise Refused(f"the TFLite file has no signature '{asked}'; it has {', '.join(signatures) or 'none'}")
    name = asked or ("serving_default" if "serving_default" in signatures else next(iter(signatures), ""))
    if name or signatures:
        s = signatures[name]
        return s.subgraphIndex, *([(_text(m.name), m.tensorIndex) for m in side] for side in (s.inputs, s.outputs)), name
    graph = model.subgraphs[0]
    return 0, *([(_text(graph.tensors[i].name), int(i)) for i in side] for side in (graph.inputs, graph.outputs)), ""


def _text(name) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _free_batch(tensor) -> bool:
    return tensor.shapeSignature is not None and len(tensor.shapeSignature) > 0 and tensor.shapeSignature[0] == -1


def _tensor(tensor, name: str, side: str) -> Tensor:
    if tensor.type not in _DTYPES:
        raise Refused(f"{side} '{name}' has the TFLite data type {tensor.type}, which the Open Inference Protocol does not carry")
    shape = [int(d) for d in (tensor.shape if tensor.shape is not None else [])]
    signature = tensor.shapeSignature
    if signature is not None and len(signature) == len(shape):
        shape = [-1 if s == -1 and i > 0 else d for i, (d, s) in enumerate(zip(shape, signature))]
    quantization = []
    q = tensor.quantization
    if q is not None and q.scale is not None and len(q.scale) == 1:
        zero = int(q.zeroPoint[0]) if q.zeroPoint is not None and len(q.zeroPoint) else 0
        quantization = [{"scale": float(q.scale[0]), "zero_point": zero, "axis": -1}]
    return Tensor(name, _DTYPES[tensor.type], shape, quantization=quantization)


def interpreter(path: str):
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(path)
    made.allocate_tensors()
    return made


def reference(inspected: Inspected):
    if not inspected.reference.startswith("litert"):
        from verge_toolchain.sources import openvino_ir

        return openvino_ir.runner(inspected.path, inspected.signature)
    run = interpreter(inspected.path)
    if inspected.signature_name:
        return _by_signature(run, inspected)
    inputs = {d["name"]: d["index"] for d in run.get_input_details()}
    outputs = {d["name"]: d["index"] for d in run.get_output_details()}
    shapes = {d["name"]: list(d["shape"]) for d in run.get_input_details()}

    def call(batch: dict) -> dict:
        changed = False
        for name, value in batch.items():
            if shapes[name] != list(value.shape):
                run.resize_tensor_input(inputs[name], value.shape)
                shapes[name], changed = list(value.shape), True
        if changed:
            run.allocate_tensors()
        for name, value in batch.items():
            run.set_tensor(inputs[name], value)
        run.invoke()
        return {t.name: run.get_tensor(outputs[t.name]) for t in inspected.signature.outputs}

    return call


def _by_signature(interpreter, inspected: Inspected):
    runner = interpreter.get_signature_runner(inspected.signature_name)

    def call(batch: dict) -> dict:
        return runner(**batch)

    call.keep = interpreter
    return call
