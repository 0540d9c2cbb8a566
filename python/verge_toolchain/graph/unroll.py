"""Loops with a fixed number of steps, written out: partial evaluation of a frozen TensorFlow graph.

The graph is walked in order. What is known (constants, static shapes, loop counters) is computed on the spot; TensorLists become Python lists of
tensors; the body of a While is walked once a step for as long as its condition is a known true; everything else is emitted into a new graph.
A loop whose condition depends on data cannot be unrolled, and says so.
"""

from __future__ import annotations

import numpy as np

from verge_toolchain.errors import LeftOut
from verge_toolchain.graph.frozen import Frozen

MAX_STEPS = 1024
MAX_NODES = 100_000
# Known tensors up to this size are computed with; larger ones (weights) are emitted as constants and left to the converters.
_MAX_FOLDED = 4096
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_IGNORED = ("NoOp", "Assert")


def unrolled(frozen: Frozen) -> Frozen:
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        writer = _Writer(graph, frozen.graph_def)
        environment, inputs = {}, {}
        for name, tensor in frozen.inputs.items():
            placeholder = tf.compat.v1.placeholder(frozen.dtypes[name], frozen.shapes[name], name=tensor.split(":")[0])
            environment[tensor] = placeholder
            inputs[name] = placeholder.name
        answers = writer.walk(frozen.graph_def.node, environment, list(frozen.outputs.values()))
        outputs = {name: tf.identity(writer.tensor(v)).name for name, v in zip(frozen.outputs, answers)}
    if not writer.steps:
        raise LeftOut("no loop was found that could be unrolled")
    return Frozen(graph.as_graph_def(), inputs, outputs, frozen.shapes, frozen.dtypes)


class _List:
    """A TensorList: an immutable list of values; None where nothing was written yet."""

    def __init__(self, items):
        self.items = list(items)


class _Dimensions:
    """A shape of which some dimensions are known (the others None), and the tensor that computes it at run time."""

    def __init__(self, known, source):
        self.known, self.source = known, source


class _Writer:
    def __init__(self, graph, graph_def):
        self._graph = graph
        self._functions = {f.signature.name: f for f in graph_def.library.function}
        self._bodies: dict[str, tuple] = {}
        self._constants: dict[int, tuple] = {}
        self._nodes = 0
        self.steps = 0

    def walk(self, nodes, environment: dict, wanted: list[str]) -> list:
        """Evaluates what `wanted` needs. `environment`: tensor name -> value, given for the inputs."""
        by_name = {n.name: n for n in nodes}
        for name in order(by_name, [w.split(":")[0] for w in wanted], {k.split(":")[0] for k in environment}):
            node = by_name[name]
            if node.op in _IGNORED:
                continue
            values = [environment[_full(i)] for i in node.input if not i.startswith("^")]
            for i, value in enumerate(self._evaluate(node, values)):
                environment[f"{name}:{i}"] = value
        return [environment[_full(w)] for w in wanted]

    def tensor(self, value):
        """A value as a tensor of the new graph."""
        import tensorflow as tf

        if isinstance(value, np.ndarray):
            if id(value) not in self._constants:
                self._constants[id(value)] = (value, tf.constant(value))
            return self._constants[id(value)][1]
        if isinstance(value, _Dimensions):
            return self._emit_shape(value)
        if isinstance(value, _List) or value is None:
            raise LeftOut("a list of tensors leaves the loop, so the graph cannot be written without one")
        return value

    def _emit_shape(self, value: _Dimensions):
        import tensorflow as tf

        return tf.shape(value.source)

    def _evaluate(self, node, values: list) -> list:
        handler = _HANDLERS.get(node.op)
        if handler:
            result = handler(self, node, values)
            if result is not None:
                return result
        if values and all(isinstance(v, np.ndarray) and v.size <= _MAX_FOLDED for v in values) and not _random(node.op):
            return self._fold(node, values)
        return self._emit(node, values)

    def _emit(self, node, values: list) -> list:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise LeftOut(f"the unrolled graph would have more than {MAX_NODES} nodes")
        tensors = [self.tensor(v) for v in values]
        attributes = {k: v for k, v in node.attr.items() if not k.startswith("_")}
        operation = self._graph.create_op(node.op, tensors, attrs=attributes, name=node.name)
        return list(operation.outputs)

    def _fold(self, node, values: list) -> list:
        import tensorflow as tf

        with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
            attributes = {k: v for k, v in node.attr.items() if not k.startswith("_")}
            operation = graph.create_op(node.op, [tf.constant(v) for v in values], attrs=attributes)
            return [np.asarray(v) for v in session.run(list(operation.outputs))]

    def call(self, name: str, values: list) -> list:
        """Walks a function of the library with these arguments."""
        if name not in self._bodies:
            self._bodies[name] = _function_graph(self._functions[name])
        nodes, arguments, results = self._bodies[name]
        return self.walk(nodes, dict(zip(arguments, values)), results)

    # -- operators with a meaning of their own

    def _constant(self, node, values):
        import tensorflow as tf

        return [np.asarray(tf.make_ndarray(node.attr["value"].tensor))]

    def _identity(self, node, values):
        return [values[0]]

    def _while(self, node, values):
        condition, body = node.attr["cond"].func.name, node.attr["body"].func.name
        for _ in range(MAX_STEPS):
            more = self.call(condition, values)[0]
            if not isinstance(more, np.ndarray):
                raise LeftOut(f"the loop '{node.name}' ends on a condition computed from data, not after a fixed number of steps")
            if not more:
                return values
            values = self.call(body, values)
            self.steps += 1
        raise LeftOut(f"the loop '{node.name}' has more than {MAX_STEPS} steps")

    def _if(self, node, values):
        if not isinstance(values[0], np.ndarray):
            raise LeftOut(f"the branch '{node.name}' depends on data")
        return self.call(node.attr["then_branch" if values[0].any() else "else_branch"].func.name, values[1:])

    def _call(self, node, values):
        return self.call(node.attr["f"].func.name, values)

    def _shape(self, node, values):
        value = values[0]
        dtype = np.int64 if node.attr["out_type"].type == 9 else np.int32  # DT_INT64
        if isinstance(value, np.ndarray):
            return [np.array(value.shape, dtype)]
        if isinstance(value, (_List, _Dimensions)) or value.shape.rank is None or dtype != np.int32:
            return None
        known = value.shape.as_list()
        return [np.array(known, dtype)] if None not in known else [_Dimensions(known, value)]

    def _slice_of_shape(self, node, values):
        value, *bounds = values
        if not isinstance(value, _Dimensions) or not all(isinstance(b, np.ndarray) and b.size == 1 for b in bounds):
            return None
        masks = {m: node.attr[f"{m}_mask"].i for m in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
        if masks["ellipsis"] or masks["new_axis"]:
            return None
        begin, end, stride = (int(b[0]) for b in bounds)
        if masks["shrink_axis"]:
            picked = value.known[begin]
            return [np.array(picked, np.int32)] if picked is not None else None
        picked = value.known[None if masks["begin"] else begin : None if masks["end"] else end : stride]
        return [np.array(picked, np.int32)] if None not in picked else None

    def _list_reserve(self, node, values):
        count = _known_integer(node, values[1])
        return [_List([None] * count)]

    def _list_empty(self, node, values):
        return [_List([])]

    def _list_from_tensor(self, node, values):
        import tensorflow as tf

        tensor = self.tensor(values[0])
        count = tensor.shape[0] if tensor.shape.rank else None
        if count is None:
            raise LeftOut(f"the loop over '{node.name}' has as many steps as the input is long, which is free")
        return [_List(tf.unstack(tensor, num=count) if count else [])]

    def _list_get(self, node, values):
        item = _items(node, values[0])[_known_integer(node, values[1])]
        if item is None:
            raise LeftOut(f"'{node.name}' reads an element of a list before it is written")
        return [item]

    def _list_set(self, node, values):
        items = list(_items(node, values[0]))
        items[_known_integer(node, values[1])] = values[2]
        return [_List(items)]

    def _list_push(self, node, values):
        return [_List([*_items(node, values[0]), values[1]])]

    def _list_length(self, node, values):
        return [np.array(len(_items(node, values[0])), np.int32)]

    def _list_stack(self, node, values):
        import tensorflow as tf

        items = _items(node, values[0])
        if not items:
            return None
        if any(i is None for i in items):
            written = [i for i in items if i is not None]
            if not written:
                return None
            zero = tf.zeros_like(self.tensor(written[0]))
            items = [zero if i is None else i for i in items]
        return [tf.stack([self.tensor(i) for i in items])]


_HANDLERS = {
    "Const": _Writer._constant,
    "Identity": _Writer._identity,
    "StopGradient": _Writer._identity,
    "PreventGradient": _Writer._identity,
    "While": _Writer._while,
    "StatelessWhile": _Writer._while,
    "If": _Writer._if,
    "StatelessIf": _Writer._if,
    **{name: _Writer._call for name in _CALLS},
    "Shape": _Writer._shape,
    "StridedSlice": _Writer._slice_of_shape,
    "TensorListReserve": _Writer._list_reserve,
    "EmptyTensorList": _Writer._list_empty,
    "TensorListFromTensor": _Writer._list_from_tensor,
    "TensorListGetItem": _Writer._list_get,
    "TensorListSetItem": _Writer._list_set,
    "TensorListPushBack": _Writer._list_push,
    "TensorListLength": _Writer._list_length,
    "TensorListStack": _Writer._list_stack,
}


def _items(node, value) -> list:
    if not isinstance(value, _List):
        raise LeftOut(f"'{node.name}' works on a list of tensors that is not known when the graph is written")
    return value.items


def _known_integer(node, value) -> int:
    if not isinstance(value, np.ndarray):
        raise LeftOut(f"'{node.name}' uses an index computed from data")
    return int(value)


def _random(operator: str) -> bool:
    return "Random" in operator or operator in ("Multinomial", "ParameterizedTruncatedNormal", "Placeholder")


def _full(name: str) -> str:
    return name if ":" in name else f"{name}:0"


def order(by_name: dict, wanted: list[str], given: set[str]) -> list[str]:
    """Names of the nodes that `wanted` needs, each after its inputs."""
    order, state = [], {}
    stack = [(w, False) for w in reversed(wanted)]
    while stack:
        name, done = stack.pop()
        if done:
            order.append(name)
            continue
        if name in state or name in given:
            continue
        state[name] = True
        stack.append((name, True))
        stack += [(i.split(":")[0], False) for i in by_name[name].input if not i.startswith("^")]
    return order


def _function_graph(function) -> tuple:
    """(nodes, names of the arguments' tensors, names of the results' tensors), all flat."""
    from tensorflow.python.framework import function_def_to_graph

    graph_def, flat = function_def_to_graph.function_def_to_graph_def(function)
    arguments = [f"{a.name}:0" for a in function.signature.input_arg]
    results = [flat[function.ret[a.name]] for a in function.signature.output_arg]
    return graph_def.node, arguments, results
