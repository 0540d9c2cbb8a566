"""A SavedModel's signature as one graph without variables, which can be given a fixed batch and written back as a SavedModel."""

from __future__ import annotations

import dataclasses
import os
import shutil

from verge_toolchain.errors import LeftOut
from verge_toolchain.sources import Inspected
from verge_toolchain.sources import saved_model as source

# A protobuf message cannot pass 2 GB, and a frozen graph is one message.
MAX_FROZEN_BYTES = 1_900_000_000
# TensorList operators whose input of this number is the shape of an element.
_ELEMENT_SHAPE = {"TensorListReserve": 0, "TensorListGetItem": 2, "TensorListStack": 1, "TensorListFromTensor": 1}
_FUSION_HINTS = ("api_implements", "api_preferred_device", "_implements", "_reference")


@dataclasses.dataclass
class Frozen:
    """`inputs` and `outputs`: network name -> tensor in the graph, in the signature's order."""

    graph_def: object
    inputs: dict[str, str]
    outputs: dict[str, str]
    shapes: dict[str, list]  # of the inputs; None: free
    dtypes: dict[str, object]


def freeze(inspected: Inspected) -> Frozen:
    """The chosen signature with variables as constants, calls inlined and loops kept as While nodes."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(inspected.network)
    function = loaded.signatures[inspected.signature_name]
    size = sum(v.dtype.size * (v.shape.num_elements() or 0) for v in function.graph.variables)
    if size > MAX_FROZEN_BYTES:
        raise LeftOut(f"the network's variables are {size >> 20} MB, more than one graph message can hold (2 GB)")
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    specs = source.input_specs(function)
    if len(frozen.inputs) != len(specs):
        raise ValueError(f"the frozen graph has {len(frozen.inputs)} inputs, the signature {len(specs)}")
    inputs = {n: t.name for n, t in zip(specs, frozen.inputs)}
    outputs = {n: t.name for n, t in zip(sorted(function.structured_outputs), frozen.outputs)}
    graph_def = frozen.graph.as_graph_def()
    _strip_hints(graph_def)
    return Frozen(
        graph_def,
        inputs,
        outputs,
        {n: s.shape.as_list() for n, s in specs.items()},
        {n: s.dtype for n, s in specs.items()},
    )


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_.-/" else "_" for c in name)


def _strip_hints(graph_def) -> None:
    """Takes away the marks by which TFLite's converter replaces an LSTM by its fused operator, whose gates are always sigmoids: with Keras' old
    hard sigmoid that answers wrongly without a word."""
    for function in graph_def.library.function:
        for key in _FUSION_HINTS:
            if key in function.attr:
                del function.attr[key]


def batch_shapes(inspected: Inspected, frozen: Frozen, batch: int) -> dict[str, list]:
    """The inputs' shapes with the batch fixed; 0 leaves it free."""
    shapes = {n: list(s) for n, s in frozen.shapes.items()}
    if batch:
        for t in inspected.signature.inputs:
            if t.batched():
                shapes[t.name][t.batch_axis] = batch
    return shapes


def to_function(frozen: Frozen, shapes: dict[str, list], batch: int = 0):
    """A ConcreteFunction of the frozen graph with the given input shapes, which are those of this batch (0: free)."""
    import tensorflow as tf

    names = list(frozen.inputs)

    def body(*args):
        given = dict(zip(names, args))
        graph_def = without_shapes(frozen.graph_def)
        if batch:
            _fix_list_elements(graph_def, batch)
            _rename_functions(graph_def, f"_batch{batch}")
        values = tf.graph_util.import_graph_def(
            graph_def,
            input_map={frozen.inputs[n]: t for n, t in given.items()},
            return_elements=list(frozen.outputs.values()),
            name="",
        )
        return {n: tf.identity(t, name=_plain(n) + "_output") for n, t in zip(frozen.outputs, values)}

    specs = [tf.TensorSpec(shapes[n], frozen.dtypes[n], name=_plain(n)) for n in names]
    return tf.compat.v1.wrap_function(body, specs)


def without_shapes(graph_def):
    """A copy without the shapes noted at export, which would contradict a fixed batch."""
    from tensorflow.core.framework import graph_pb2

    copy = graph_pb2.GraphDef()
    copy.CopyFrom(graph_def)
    for nodes in [copy.node] + [f.node_def for f in copy.library.function]:
        for node in nodes:
            if "_output_shapes" in node.attr:
                del node.attr["_output_shapes"]
            if node.op in ("While", "StatelessWhile", "If", "StatelessIf", "PartitionedCall", "StatefulPartitionedCall") and "output_shapes" in node.attr:
                del node.attr["output_shapes"]
    return copy


def _fix_list_elements(graph_def, batch: int) -> None:
    """Puts the batch where a loop's TensorLists say that the first dimension of their elements is free: TFLite has no lists of free shape. A
    wrong guess cannot pass, since the shapes of what is stored in the list are known and checked against it."""
    import tensorflow as tf

    for nodes in [graph_def.node] + [f.node_def for f in graph_def.library.function]:
        shapes, other_uses = set(), set()
        for node in nodes:
            for i, name in enumerate(node.input):
                plain = name.lstrip("^").split(":")[0]
                (shapes if _ELEMENT_SHAPE.get(node.op) == i else other_uses).add(plain)
        for node in nodes:
            if node.op == "Const" and node.name in shapes - other_uses:
                value = tf.make_ndarray(node.attr["value"].tensor)
                if value.ndim == 1 and value.size and value[0] == -1:
                    fixed = value.copy()
                    fixed[0] = batch
                    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(fixed))


def _rename_functions(graph_def, suffix: str) -> None:
    """New names for changed functions: this process knows the unchanged ones already."""
    names = {f.signature.name for f in graph_def.library.function}
    for function in graph_def.library.function:
        function.signature.name += suffix
    for nodes in [graph_def.node] + [f.node_def for f in graph_def.library.function]:
        for node in nodes:
            if node.op in names:
                node.op += suffix
            for value in node.attr.values():
                for called in [value.func, *value.list.func] if value.HasField("func") or value.HasField("list") else []:
                    if called.name in names:
                        called.name += suffix


def save(function, inputs: list[str], folder: str, key: str = "serving_default") -> str:
    """Writes a ConcreteFunction as a SavedModel whose signature `key` has the network's own names."""
    import tensorflow as tf

    module = tf.Module()
    module.function = function
    function._arg_keywords = inputs  # the names of a signature's inputs; wrap_function leaves them empty
    function._num_positional_args = 0
    temporary = f"{folder}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    tf.saved_model.save(module, temporary, signatures={key: function})
    try:
        os.rename(temporary, folder)
    except OSError:  # another child was faster
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def for_form(inspected: Inspected, form: str) -> Frozen:
    """The frozen graph in this form."""
    frozen = freeze(inspected)
    if form == "unrolled":
        from verge_toolchain.graph import unroll

        return unroll.unrolled(frozen)
    return frozen


def saved_model(inspected: Inspected, form: str, batch: int) -> str:
    """A SavedModel of the network in this form and with this batch (0: free), made when first asked for. Its signature is serving_default."""
    folder = os.path.join(inspected.work, "networks", f"{form or 'plain'}-{batch or 'n'}")
    if os.path.isdir(folder):
        return folder
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    return write(inspected, form, batch, folder, "serving_default")


def write(inspected: Inspected, form: str, batch: int, folder: str, key: str) -> str:
    """The same into a folder that does not exist yet."""
    frozen = for_form(inspected, form)
    return save(to_function(frozen, batch_shapes(inspected, frozen, batch), batch), list(frozen.inputs), folder, key)
