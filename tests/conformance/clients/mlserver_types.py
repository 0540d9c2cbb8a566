"""MLServer's types of the protocol: requests are written by them and answers validated against them. Only its module of types is imported; the package
itself is a server."""
import importlib.util
import json
import pathlib
import sys
import types as python_types
import urllib.request

from .arrays import A, B


def load_types():
    # Without the package's own __init__, which imports the whole server.
    if "mlserver" not in sys.modules:
        package = python_types.ModuleType("mlserver")
        package.__path__ = [str(pathlib.Path(importlib.util.find_spec("mlserver").origin).parent)]
        sys.modules["mlserver"] = package
    return importlib.import_module("mlserver.types")


def ask(server, path, body=None):
    request = urllib.request.Request(f"http://{server.address}{path}", body.encode() if body is not None else None)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def infer(server):
    t = load_types()
    inputs = [t.RequestInput(name=f"INPUT{i}", shape=[1, 16], datatype=t.Datatype.INT32, data=x.flatten().tolist()) for i, x in enumerate((A, B))]
    request = t.InferenceRequest(id="r1", inputs=inputs, outputs=[t.RequestOutput(name="OUTPUT0")])
    answer = t.InferenceResponse.model_validate(ask(server, "/v2/models/simple/infer", request.model_dump_json(exclude_none=True)))
    assert answer.id == "r1" and answer.outputs[0].data.root == (A + B).flatten().tolist()


def metadata(server):
    t = load_types()
    t.MetadataServerResponse.model_validate(ask(server, "/v2"))
    assert t.MetadataModelResponse.model_validate(ask(server, "/v2/models/simple")).inputs[0].name == "INPUT0"


def repository(server):
    t = load_types()
    body = t.RepositoryIndexRequest(ready=True).model_dump_json(exclude_none=True)
    index = t.RepositoryIndexResponse.model_validate(ask(server, "/v2/repository/index", body))
    assert "simple" in {m.name for m in index.root}
