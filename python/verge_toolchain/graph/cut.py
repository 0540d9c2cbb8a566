"""Cuts one network with several outputs into stages, one an exit (docs/conversion-protocol.md, `cut`).

Stage k computes what exit k needs and no earlier stage has computed. What it takes from earlier stages are *features*: outputs there, inputs here,
under one name. Constants are not passed but stand in each stage that uses them; so does what is computed from shapes alone, and what is computed
cheaply from features that cross anyway. A feature has to have the batch as its first dimension: where it does not, because the network folds
dimensions together, the cut moves up to where it has.
"""

from __future__ import annotations

import dataclasses
import os
import shutil

import numpy as np

from verge_toolchain import safety, sources, tf_types
from verge_toolchain.errors import LeftOut, Refused, one_sentence
from verge_toolchain.graph import frozen
from verge_toolchain.graph.unroll import order
from verge_toolchain.signature import MAX_RANK
from verge_toolchain.sources import saved_model

MAX_EXITS = 32
TOLERANCE = 1e-5
_SEED = 1
_FREE_DIMENSION = 8  # what a free dimension beside the batch is taken for in a trial run
_PASSES_ON = {"Identity", "StopGradient", "PreventGradient", "Snapshot"}
_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
# Computed again rather than passed on where its input crosses anyway: no more work than copying.
_CHEAP = {
    *("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Abs", "Neg", "Sign", "Square", "Sqrt", "Rsqrt", "Cast", "Identity"),
    *("Add", "AddV2", "Sub", "Mul", "RealDiv", "Maximum", "Minimum", "BiasAdd", "Softplus", "Softsign"),
}
_MOVES = {"Reshape", "Transpose", "ExpandDims", "Squeeze", "Pad", "PadV2", "MirrorPad", "StridedSlice", "Slice", "ConcatV2", "SpaceToBatchND", "BatchToSpaceND"}


@dataclasses.dataclass
class Stage:
    exit: str
    inputs: dict[str, str]  # name -> tensor of the whole graph, as all below
    outputs: dict[str, str]
    nodes: list


def run(kind: str, path: str, signature: str | None, work: str, exits: list[str], report) -> dict:
    """Runs in a child process. Returns {"stages": [...]}."""
    if kind not in ("saved_model", "keras", "h5"):
        raise Refused(f"{kind} files are not cut into stages; give the SavedModel or Keras model, or one model a stage")
    folder = os.path.join(work, "cut")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    inspected = sources.module(kind).inspect(path, signature, folder, report)
    _check_exits(inspected.signature, exits)
    try:
        whole = frozen.freeze(inspected)
    except LeftOut as e:
        raise Refused(str(e)) from e
    graph = _Graph(whole, inspected)
    stages = _Cutter(graph, exits).stages()
    folders = []
    for i, stage in enumerate(stages):
        function = frozen.to_function(*_frozen(graph, stage))
        folders.append(frozen.save(function, list(stage.inputs), os.path.join(folder, f"stage{i + 1}")))
    loaded = [_load(f) for f in folders]
    _compare(graph, stages, loaded)
    described = [saved_model.function_signature(f).json() for _, f in loaded]
    return {"stages": [{"dir": d, **s, "exit": stage.exit} for d, s, stage in zip(folders, described, stages)]}


def _check_exits(signature, exits: list[str]) -> None:
    outputs = {t.name: t for t in signature.outputs}
    for name in exits:
        if name not in outputs:
            raise Refused(f"the exit '{name}' is not an output of the network, which has {', '.join(outputs)}")
    if len(exits) < 2 or len(exits) > MAX_EXITS or len(set(exits)) != len(exits):
        raise Refused(f"a network is cut at 2 to {MAX_EXITS} exits with distinct outputs, found {len(exits)}: {', '.join(exits)}")
    if not signature.batched():
        raise Refused("the network has no batch as the first dimension of its inputs and outputs, so it cannot be cut; export it with a free first dimension")
    first = outputs[exits[0]]
    for name in exits[1:]:
        other = outputs[name]
        if (other.dtype, other.shape) != (first.dtype, first.shape):
            raise Refused(
                f"the exits '{first.name}' ({first.dtype} {first.shape}) and '{name}' ({other.dtype} {other.shape}) differ in type or shape, "
                "but each must be able to stand for the model's answer"
            )


def _node_of(tensor: str) -> str:
    return tensor.split(":")[0]


class _Graph:
    """The whole network, frozen: who computes what, and of which shape it is."""

    def __init__(self, whole: frozen.Frozen, inspected):
        import tensorflow as tf

        self.signature = inspected.signature
        self.batch = inspected.signature.fixed_batch
        self.graph_def = frozen.without_shapes(whole.graph_def)
        _without_state(self.graph_def)
        self.dtypes = whole.dtypes
        self.nodes = {n.name: n for n in self.graph_def.node}
        self.input_names = {_node_of(t): n for n, t in whole.inputs.items()}
        self.shapes = frozen.batch_shapes(inspected, whole, 0)
        self.inputs = whole.inputs
        for node in self.nodes.values():
            plain = [self._origin(i) for i in node.input if not i.startswith("^")]
            del node.input[:]
            node.input.extend(plain)
        self.outputs = {n: self._origin(t) for n, t in whole.outputs.items()}
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.graph_util.import_graph_def(self.graph_def, name="")
        self._session = None
        self._trials: dict[int, dict] = {}
        self._broken = False
        self._kinds()

    def _origin(self, tensor: str) -> str:
        """The tensor that is passed on under this name."""
        tensor = tensor if ":" in tensor else f"{tensor}:0"
        while True:
            node = self.nodes[_node_of(tensor)]
            if node.op not in _PASSES_ON or not node.input:
                return tensor
            tensor = node.input[0] if ":" in node.input[0] else f"{node.input[0]}:0"

    def _kinds(self) -> None:
        """Which nodes vary with the input, and which of those depend on its shape alone."""
        self.varies, self.of_shapes = set(), set()
        for name in order(self.nodes, list(self.nodes), set()):
            node = self.nodes[name]
            varying = [_node_of(i) for i in node.input if _node_of(i) in self.varies]
            if name in self.input_names or varying or _random(node):
                self.varies.add(name)
                if varying and (node.op in _SHAPES or all(v in self.of_shapes for v in varying)):
                    self.of_shapes.add(name)

    def tensor(self, name: str):
        return self._graph.get_tensor_by_name(name)

    def values(self, tensors: list[str], batch: int) -> dict | None:
        """What these tensors are for seeded noise of this batch; None where the network does not run on noise."""
        import tensorflow as tf

        if self._broken:
            return None
        seen = self._trials.setdefault(batch, {})
        missing = [t for t in tensors if t not in seen]
        try:
            if self._session is None:
                self._session = tf.compat.v1.Session(graph=self._graph)
            if missing:
                feed = {self.inputs[n]: v for n, v in self.noise(batch).items()}
                seen.update(zip(missing, self._session.run(missing, feed)))
        except Exception as e:
            print(f"no trial run: {e}")
            self._broken = True
            return None
        return {t: seen[t] for t in tensors}

    def noise(self, batch: int) -> dict:
        made = np.random.default_rng(_SEED)
        given = {}
        for t in self.signature.inputs:
            shape = [_FREE_DIMENSION if d < 0 else d for d in t.shape]
            shape[t.batch_axis] = self.batch or batch
            dtype = self.dtypes[t.name].as_numpy_dtype
            if t.dtype == "BYTES":
                given[t.name] = np.full(shape, b"", object)
            elif np.dtype(dtype).kind in "iub":
                given[t.name] = made.integers(0, 2, shape).astype(dtype)
            else:
                given[t.name] = made.random(shape).astype(dtype)
        return given

    def feature_shape(self, tensor: str) -> list | None:
        """The shape of a tensor as a feature (None: free), or None where its first dimension is not the batch."""
        shape = self.tensor(tensor).shape
        if shape.rank is None:
            trial = self.values([tensor], 2)
            if trial is None:
                return None
            known = [None] * trial[tensor].ndim
        else:
            known = shape.as_list()
        if not known or len(known) > MAX_RANK or known[0] != (self.batch or None):
            return None
        if self.batch:
            return known if None not in known else None
        small, large = self.values([tensor], 2), self.values([tensor], 3)
        if small is None or large is None:
            return known
        a, b = np.shape(small[tensor]), np.shape(large[tensor])
        if (a[0], b[0]) != (2, 3) or a[1:] != b[1:]:
            return None
        inner_free = any(d < 0 for t in self.signature.inputs for i, d in enumerate(t.shape) if i != t.batch_axis)
        return known if inner_free else [None, *a[1:]]


def _without_state(graph_def) -> None:
    """Turns loops and branches into their stateless forms where nothing in them has state: TensorFlow does not inline functions with the others."""
    from tensorflow.python.framework import op_def_registry

    functions = {f.signature.name: f for f in graph_def.library.function}

    def stateful(node, path: tuple) -> bool:
        called = list(safety.function_names(node, functions))
        if not called:
            definition = op_def_registry.get(node.op)
            return definition is None or definition.is_stateful
        return any(n in path or any(stateful(inner, (*path, n)) for inner in functions[n].node_def) for n in called)

    for nodes in [graph_def.node] + [f.node_def for f in graph_def.library.function]:
        for node in nodes:
            if node.op in ("While", "If") and not stateful(node, ()):
                node.op = f"Stateless{node.op}"


def _random(node) -> bool:
    return "Random" in node.op or node.op in ("Multinomial", "ParameterizedTruncatedNormal")


class _Cutter:
    def __init__(self, graph: _Graph, exits: list[str]):
        self._graph = graph
        self._exits = exits
        self._stage_of: dict[str, int] = {}  # of nodes that vary with the input's content

    def stages(self) -> list[Stage]:
        self._assign()
        taken = [self._taken(k) for k in range(len(self._exits))]
        names = self._names(taken)
        stages = []
        for k, (exit, (nodes, features, inputs)) in enumerate(zip(self._exits, taken)):
            if k and not any(self._stage_of[_node_of(f)] == k - 1 for f in features):
                raise Refused(
                    f"the exit '{exit}' uses nothing that the network computes for '{self._exits[k - 1]}', the exit before it; "
                    "name the exits in the order of their depth, along one chain"
                )
            later = {f for _, fs, _ in taken[k + 1 :] for f in fs if self._stage_of[_node_of(f)] == k}
            answer = self._graph.outputs[exit]
            outputs = {exit: answer, **{names[f]: f for f in sorted(later - {answer}, key=lambda f: names[f])}}
            given = {n: t for n, t in self._graph.inputs.items() if t in inputs}
            given |= {names[f]: f for f in sorted(features, key=lambda f: names[f])}
            stages.append(Stage(exit, given, outputs, nodes))
        return stages

    def _assign(self) -> None:
        graph = self._graph
        for k, exit in enumerate(self._exits):
            end = _node_of(graph.outputs[exit])
            if end not in graph.varies or end in graph.of_shapes or end in graph.input_names:
                raise Refused(f"the exit '{exit}' does not depend on what the network computes from its input")
            if end in self._stage_of:
                before = self._exits[self._stage_of[end]]
                raise Refused(f"the exit '{exit}' is computed already where '{before}' answers; name the exits in the order of their depth")
            for name in order(graph.nodes, [end], set()):
                if name in graph.varies and name not in graph.of_shapes and name not in graph.input_names:
                    self._stage_of.setdefault(name, k)

    def _names(self, taken: list) -> dict[str, str]:
        """One name a feature, in the order in which stages take them; an exit's answer that is taken keeps its own."""
        graph = self._graph
        names = {graph.outputs[e]: e for e in self._exits}
        used = {*graph.inputs, *graph.outputs}
        number = 0
        for _, features, _ in taken:
            for feature in features:
                while feature not in names:
                    number += 1
                    if f"feature_{number}" not in used:
                        names[feature] = f"feature_{number}"
        return names

    def _taken(self, k: int) -> tuple[list, list[str], set[str]]:
        """(nodes of stage k, features that it takes, network inputs that it takes)."""
        again: set[str] = set()  # nodes of earlier stages that are computed once more
        while True:
            nodes, features, inputs = self._walk(k, again)
            more = {_node_of(f) for f in features if self._computed_again(f, {*features, *inputs})}
            if not more:
                return nodes, features, inputs
            again |= more

    def _walk(self, k: int, again: set[str]):
        graph = self._graph
        # Besides its exit a stage computes what later stages take: all of that is needed by the exit too, or it would not be the stage's.
        start = graph.outputs[self._exits[k]]
        nodes, features, inputs, seen = [], [], set(), set()
        pending = [start]
        while pending:
            tensor = pending.pop()
            name = _node_of(tensor)
            if name in graph.input_names:
                inputs.add(tensor)
            elif self._stage_of.get(name, k) < k and name not in again:
                if tensor not in features:
                    features.append(tensor)
            elif name not in seen:
                seen.add(name)
                nodes.append(graph.nodes[name])
                pending += reversed(graph.nodes[name].input)
        return nodes, features, inputs

    def _computed_again(self, feature: str, given: set[str]) -> bool:
        graph = self._graph
        node = graph.nodes[_node_of(feature)]
        varying = [i for i in node.input if _node_of(i) in graph.varies]
        content = [i for i in varying if _node_of(i) not in graph.of_shapes]
        if node.op in _CHEAP and all(i in given for i in content) and not any(_node_of(i) in graph.of_shapes for i in varying):
            return True
        if graph.feature_shape(feature) is not None:
            return False
        if node.op in _CHEAP or node.op in _MOVES:
            return True
        shape = graph.tensor(feature).shape
        raise Refused(
            f"the tensor '{feature}' (operator {node.op}, shape {shape}) would pass from one stage to the next, but its first dimension is not the batch; "
            "take the exit at another place, or export one SavedModel a stage"
        )


def _frozen(graph: _Graph, stage: Stage):
    """Arguments for frozen.to_function: the stage as a graph of its own, its inputs placeholders."""
    from tensorflow.core.framework import graph_pb2

    graph_def = graph_pb2.GraphDef()
    graph_def.versions.CopyFrom(graph.graph_def.versions)
    inputs, replaced, shapes, dtypes = {}, {}, {}, {}
    for i, (name, tensor) in enumerate(stage.inputs.items()):
        node = graph_def.node.add(name=f"stage_input_{i}", op="Placeholder")
        dtype = graph.tensor(tensor).dtype
        node.attr["dtype"].type = dtype.as_datatype_enum
        inputs[name] = f"stage_input_{i}:0"
        replaced[tensor] = inputs[name]
        dtypes[name] = dtype
        shapes[name] = graph.shapes[name] if name in graph.shapes else graph.feature_shape(tensor)
        if name not in graph.shapes:
            tf_types.dtype_name(dtype, f"the feature '{tensor}'")
    for node in stage.nodes:
        copy = graph_def.node.add()
        copy.CopyFrom(node)
        for i, tensor in enumerate(node.input):
            copy.input[i] = replaced.get(tensor, tensor)
    _add_functions(graph, graph_def)
    outputs = {n: replaced.get(t, t) for n, t in stage.outputs.items()}
    return frozen.Frozen(graph_def, inputs, outputs, shapes, dtypes), shapes


def _add_functions(graph: _Graph, graph_def) -> None:
    """The functions that the stage's nodes call, directly or not."""
    functions = {f.signature.name: f for f in graph.graph_def.library.function}
    called, pending = set(), list(graph_def.node)
    while pending:
        for name in safety.function_names(pending.pop(), functions):
            if name not in called:
                called.add(name)
                pending += functions[name].node_def
    graph_def.library.function.extend(functions[n] for n in functions if n in called)


def _load(folder: str):
    import tensorflow as tf

    loaded = tf.saved_model.load(folder)
    return loaded, loaded.signatures["serving_default"]


def _compare(graph: _Graph, stages: list[Stage], loaded: list) -> None:
    """The chain as it was written must answer as the whole does."""
    import tensorflow as tf

    want = graph.values([graph.outputs[s.exit] for s in stages], 2)
    if want is None:
        return
    given = {n: tf.constant(v, graph.dtypes[n]) for n, v in graph.noise(2).items()}
    for stage, (_, function) in zip(stages, loaded):
        try:
            answer = function(**{n: given[n] for n in stage.inputs})
        except Exception as e:
            raise Refused(f"the stage of '{stage.exit}' does not run on its own: {one_sentence(str(e), 200)}") from e
        given |= answer
        expected, got = want[graph.outputs[stage.exit]], answer[stage.exit].numpy()
        if got.dtype.kind not in "fc":
            close = np.array_equal(got, expected)
        else:
            scale = max(1.0, float(np.abs(expected).max(initial=0)))
            close = np.allclose(got, expected, rtol=0, atol=TOLERANCE * scale, equal_nan=True)
        if not close and not any(_random(n) for n in graph.nodes.values()):
            raise Refused(f"the chain of stages answers otherwise than the whole network at the exit '{stage.exit}'; export one SavedModel a stage")
