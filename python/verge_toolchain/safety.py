"""What is refused before any library is allowed to load it (docs/conversion-protocol.md, `inspect`).

Only parsed protobuf messages, JSON and HDF5 structure are looked at here; nothing of the network is executed.
"""

from __future__ import annotations

import os
import re

from verge_toolchain.errors import Refused

# TensorFlow operators that reach outside the graph: files, checkpoints, the network, Python, foreign libraries.
_ALWAYS_FORBIDDEN = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|PyFunc|PyFuncStateless|EagerPyFunc|LoadLibrary.*|ImmutableConst"
    r"|(WholeFile|TextLine|TFRecord|FixedLengthRecord|LMDB|BigQuery)Reader(V2)?"
    r"|.*(TFRecord|TextLine|FixedLengthRecord|Sql|CSV|LMDB|LoadDataset|SaveDataset|Snapshot|MatchingFiles|DataService|BigQuery|Bigtable).*Dataset.*"
    r"|LoadDataset|SaveDataset(V2)?|DistributedSave|CacheDataset(V2)?|InitializeTableFromTextFile(V2)?|GenerateVocabRemapping|LoadAndRemapMatrix"
    r"|.*Summary(File|Db)Writer|FileSystemSetConfiguration|DebugIdentity.*|DebugNanCount|DebugNumericSummary.*"
    r"|TRTEngineOp|CreateTRTResourceHandle|InitializeTRTResource|RemoteCall|RpcCall|RpcServer.*|RpcClient|GrpcServer.*"
)
# Saving and restoring stand in every SavedModel; they are forbidden only where an inference or initialisation reaches them.
_CHECKPOINT = re.compile(r"Save|SaveV2|SaveSlices|Restore|RestoreSlice|RestoreV2|MergeV2Checkpoints|ShardedFilename|ShardedFilespec")


def check_tensorflow_graph(meta_graph, known_operator) -> None:
    """`meta_graph` is a MetaGraphDef; known_operator(name) says whether TensorFlow itself has that operator."""
    functions = {f.signature.name: f for f in meta_graph.graph_def.library.function}
    for place, node in _all_nodes(meta_graph.graph_def, functions):
        _check_node(node, place)
        if not known_operator(node.op) and node.op not in functions:
            raise Refused(
                f"the operator {node.op} ({place}) is not TensorFlow's own and would need a foreign library; rebuild the network from standard operators"
            )
    for place, node in reachable_nodes(meta_graph, functions):
        if _CHECKPOINT.fullmatch(node.op):
            raise _forbidden(node.op, place, "reads or writes checkpoints during inference")


def _all_nodes(graph_def, functions):
    for node in graph_def.node:
        yield f"node '{node.name}'", node
    for name, function in functions.items():
        for node in function.node_def:
            yield f"node '{node.name}' of function '{name}'", node


def _check_node(node, place: str) -> None:
    if _ALWAYS_FORBIDDEN.fullmatch(node.op):
        raise _forbidden(node.op, place, "reaches files, libraries or code outside the network")
    if node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:"):
        raise _forbidden(node.op, place, "writes to a file")


def _forbidden(op: str, place: str, why: str) -> Refused:
    return Refused(f"the operator {op} ({place}) {why}, which a served network may not do; export the network without it (do it in a transform)")


def function_names(node, functions):
    if node.op in functions:
        yield node.op
    for value in node.attr.values():
        if value.func.name in functions:
            yield value.func.name
        for f in value.list.func:
            if f.name in functions:
                yield f.name


def reachable_nodes(meta_graph, functions):
    """Nodes that a signature or an initialiser can run."""
    nodes = {n.name: n for n in meta_graph.graph_def.node}
    pending = [t.name for s in meta_graph.signature_def.values() for t in [*s.outputs.values(), *s.inputs.values()]]
    for key in ("main_op", "legacy_init_op", "saved_model_main_op"):
        pending += list(meta_graph.collection_def[key].node_list.value) if key in meta_graph.collection_def else []
    seen, called = set(), []
    while pending:
        name = pending.pop().lstrip("^").split(":")[0]
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        node = nodes[name]
        yield f"node '{name}'", node
        pending += node.input
        called += function_names(node, functions)
    done = set()
    while called:
        name = called.pop()
        if name in done:
            continue
        done.add(name)
        for node in functions[name].node_def:
            yield f"node '{node.name}' of function '{name}'", node
            called += function_names(node, functions)


# ---------------------------------------------------------------- Keras

# Layers whose configuration is code, or names a file or another framework's code.
_CODE_LAYERS = {"Lambda", "__lambda__", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
_KERAS_MODULES = re.compile(
    r"(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.src)?"
    r"(\.(layers|models|engine|initializers|regularizers|constraints|optimizers|losses|metrics|activations|dtype_policies|random|ops|mixed_precision|legacy)"
    r"(\.[\w.]+)?)?|builtins|keras\.saving(\.[\w.]+)?"
)


def check_keras_config(config, depth: int = 0) -> None:
    """`config` is the parsed model configuration of a .keras or .h5 file."""
    if depth > 200:
        raise Refused("the Keras configuration is nested more than 200 levels deep")
    if isinstance(config, list):
        for value in config:
            check_keras_config(value, depth + 1)
        return
    if not isinstance(config, dict):
        return
    name, module = config.get("class_name"), config.get("module")
    if name in _CODE_LAYERS:
        inner = config.get("config")
        layer = inner.get("name") if isinstance(inner, dict) else None
        raise Refused(
            f"the Keras layer {name}{f' ({layer!r})' if layer else ''} holds code, which is not run; replace it with standard layers, "
            "or move it into a transform, and save again"
        )
    if isinstance(name, str) and isinstance(module, str) and not _KERAS_MODULES.fullmatch(module):
        raise Refused(f"the Keras object {name} comes from the module '{module}', whose code is not in the file; export the model as a SavedModel")
    for value in config.values():
        check_keras_config(value, depth + 1)


def check_hdf5(file, where: str) -> None:
    """`file` is an open h5py.File. Links and storage outside the file could read anything on this machine."""
    import h5py

    def walk(group, depth):
        if depth > 64:
            raise Refused(f"{where}: groups are nested more than 64 levels deep")
        for name in group:
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise Refused(f"{where}: '{group.name}/{name}' is a link to another file ({link.filename}); save the model with its weights inside")
            if isinstance(link, h5py.SoftLink):
                raise Refused(f"{where}: '{group.name}/{name}' is a symbolic link; save the model again")
            item = group[name]
            if isinstance(item, h5py.Dataset):
                if item.external or item.is_virtual:
                    raise Refused(f"{where}: '{item.name}' keeps its data in another file; save the model with its weights inside")
            else:
                walk(item, depth + 1)

    walk(file, 0)


# ---------------------------------------------------------------- ONNX


def check_external_location(location: str, folder: str, tensor: str) -> str:
    """The path of a tensor's external data, proved to lie inside the model's folder."""
    way_out = "save the model with its data beside it, or inside it"
    parts = location.replace("\\", "/").split("/")
    if not location or "\0" in location or os.path.isabs(location) or ".." in parts or re.match(r"^[A-Za-z]:", location):
        raise Refused(f"the tensor '{tensor}' keeps its data at '{location}', outside the model's folder; {way_out}")
    path = os.path.join(folder, location)
    real, root = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([real, root]) != root:
        raise Refused(f"the tensor '{tensor}' keeps its data at '{location}', a link out of the model's folder; {way_out}")
    if not os.path.isfile(real):
        raise Refused(f"the tensor '{tensor}' keeps its data at '{location}', which does not exist; {way_out}")
    return path
