"""TensorFlow SavedModel folders, with any signature."""

from __future__ import annotations

import os

from verge_toolchain import safety, tf_types
from verge_toolchain.errors import Refused, one_sentence
from verge_toolchain.signature import Signature, Tensor, make_signature
from verge_toolchain.sources import Inspected

_LOOP_OPERATORS = {"While", "StatelessWhile", "Enter", "RefEnter", "For", "TensorListReserve", "TensorListFromTensor"}
_DEFAULT = "serving_default"


def inspect(path: str, signature: str | None, work: str, report) -> Inspected:
    import tensorflow as tf

    meta_graph = parse(path)
    safety.check_tensorflow_graph(meta_graph, _known_operator)
    name, notes = choose_signature(meta_graph, signature)
    network = without_optimizer(path, meta_graph, work)
    try:
        loaded = tf.saved_model.load(network)
        function = loaded.signatures[name]
    except Exception as e:
        raise Refused(f"TensorFlow cannot load the SavedModel: {one_sentence(str(e), 200)}") from e
    return Inspected(
        kind="saved_model",
        path=path,
        work=work,
        signature_name=name,
        signature=function_signature(function),
        has_loop=has_loop(meta_graph),
        reference=f"tensorflow {tf.__version__}",
        notes=notes,
        network=network,
    )


def parse(path: str):
    """The MetaGraphDef to serve, without loading anything."""
    if not os.path.isfile(os.path.join(path, "saved_model.pb")) and not os.path.isfile(os.path.join(path, "saved_model.pbtxt")):
        raise Refused(f"'{path}' holds no saved_model.pb; give the folder that tf.saved_model.save or model.export wrote")
    from tensorflow.python.saved_model import loader_impl

    try:
        saved_model = loader_impl.parse_saved_model(path)
    except Exception as e:
        raise Refused(f"saved_model.pb is damaged: {one_sentence(str(e), 200)}") from e
    for meta_graph in saved_model.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return meta_graph
    tags = [list(m.meta_info_def.tags) for m in saved_model.meta_graphs]
    raise Refused(f"the SavedModel has no graph tagged 'serve', only {tags}; export it for serving")


def _known_operator(name: str) -> bool:
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(name) is not None


def without_optimizer(path: str, meta_graph, work: str) -> str:
    """The folder to load from: `path` itself, or a copy without the optimizer's slot variables, which no Keras of today can rebuild and serving
    does not need."""
    from tensorflow.core.protobuf import saved_model_pb2

    if not any(node.slot_variables for node in meta_graph.object_graph_def.nodes):
        return path
    copy = saved_model_pb2.SavedModel(saved_model_schema_version=1)
    copy.meta_graphs.add().CopyFrom(meta_graph)
    for node in copy.meta_graphs[0].object_graph_def.nodes:
        del node.slot_variables[:]
    folder = os.path.join(work, "network")
    os.makedirs(folder, exist_ok=True)
    for part in ("variables", "assets"):
        if os.path.isdir(os.path.join(path, part)) and not os.path.lexists(os.path.join(folder, part)):
            os.symlink(os.path.abspath(os.path.join(path, part)), os.path.join(folder, part))
    with open(os.path.join(folder, "saved_model.pb"), "wb") as f:
        f.write(copy.SerializeToString())
    return folder


def choose_signature(meta_graph, asked: str | None) -> tuple[str, list[str]]:
    names = sorted(n for n, s in meta_graph.signature_def.items() if not n.startswith("__") and s.outputs)
    if not names:
        raise Refused("the SavedModel has no signature; save it with tf.saved_model.save(model, folder, signatures=function)")
    if asked:
        if asked not in names:
            raise Refused(f"the SavedModel has no signature '{asked}'; it has {', '.join(names)}")
        return asked, []
    if _DEFAULT in names:
        others = [n for n in names if n not in (_DEFAULT, "serve")]
        return _DEFAULT, [f"other signatures: {', '.join(others)}"] if others else []
    if len(names) == 1:
        return names[0], []
    raise Refused(f"the SavedModel has no '{_DEFAULT}' signature but {', '.join(names)}; name one in model.yaml (signature)")


def function_signature(function) -> Signature:
    """Inputs in the order of the signature, outputs sorted by name as TensorFlow does."""
    inputs = [
        Tensor(name, tf_types.dtype_name(spec.dtype, f"input '{name}'"), tf_types.shape_list(spec.shape, f"input '{name}'"))
        for name, spec in input_specs(function).items()
    ]
    outputs = [
        Tensor(name, tf_types.dtype_name(t.dtype, f"output '{name}'"), tf_types.shape_list(t.shape, f"output '{name}'"))
        for name, t in sorted(function.structured_outputs.items())
    ]
    return make_signature(inputs, outputs)


def input_specs(function) -> dict:
    """Input name -> TensorSpec, in the order of the function's own arguments: that of the signature's map changes from run to run."""
    specs = function.structured_input_signature[1]
    return {name: specs[name] for name in function._arg_keywords}


def has_loop(meta_graph) -> bool:
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    return any(node.op in _LOOP_OPERATORS for _, node in safety.reachable_nodes(meta_graph, functions))


def reference(inspected: Inspected):
    """The network's own answers: the signature as one traced function."""
    import tensorflow as tf

    loaded = tf.saved_model.load(inspected.network)
    function = loaded.signatures[inspected.signature_name]
    dtypes = {n: s.dtype for n, s in input_specs(function).items()}

    def run(batch: dict) -> dict:
        answer = function(**{n: tf.constant(v, dtypes[n]) for n, v in batch.items()})
        return {n: t.numpy() for n, t in answer.items()}

    run.keep = loaded  # the function holds its variables weakly
    return run
