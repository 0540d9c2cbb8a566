"""System shared memory through tritonclient: inputs, outputs, strings, and clients that change or cut what they registered."""
import mmap
import os
import uuid

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor


@pytest.fixture(scope="module")
def server():
    from conftest import EchoServer
    server = EchoServer("--shared-memory")
    yield server
    assert server.stop() == 0


@pytest.fixture(params=[triton_grpc, triton_http], ids=["grpc", "http"])
def module(request):
    return request.param


@pytest.fixture
def client(module, server):
    with module.InferenceServerClient(server.address) as client:
        yield client
        client.unregister_system_shared_memory()


@pytest.fixture
def region(client):
    """Makes an object, registers it whole, and removes both."""
    made = []

    def make(size, register=True):
        name = "verge-test-" + uuid.uuid4().hex
        handle = shm.create_shared_memory_region(name, "/" + name, size, create_only=True)
        made.append(handle)
        if register:
            client.register_system_shared_memory(name, "/" + name, size)
        return name, handle

    yield make
    for handle in made:
        shm.destroy_shared_memory_region(handle)


def tensor(module, name, array, region, size, offset=0, dtype="INT32"):
    t = module.InferInput(name, list(array.shape), dtype)
    t.set_shared_memory(region, size, offset)
    return t


def output(module, name, region, size, offset=0):
    out = module.InferRequestedOutput(name)
    out.set_shared_memory(region, size, offset)
    return out


def test_status(client, module, region):
    name, _ = region(4096)
    status = client.get_system_shared_memory_status()
    if module is triton_grpc:
        regions = {k: (r.name, r.key, r.offset, r.byte_size) for k, r in status.regions.items()}
    else:
        regions = {r["name"]: (r["name"], r["key"], r["offset"], r["byte_size"]) for r in status}
    assert regions == {name: (name, "/" + name, 0, 4096)}
    client.get_system_shared_memory_status(name)
    with pytest.raises(InferenceServerException, match="no shared memory region 'other'"):
        client.get_system_shared_memory_status("other")
    with pytest.raises(InferenceServerException, match="registered already"):
        client.register_system_shared_memory(name, "/" + name, 4096)
    client.unregister_system_shared_memory(name)
    client.unregister_system_shared_memory(name)


@pytest.mark.parametrize("model", ["echo", "threaded"])
def test_inputs_and_outputs(client, module, region, model):
    a, b = np.arange(1000, dtype=np.int32).reshape(1, -1), -np.arange(1000, dtype=np.int32).reshape(1, -1)
    name_in, handle_in = region(8192)
    name_out, handle_out = region(8192)
    shm.set_shared_memory_region(handle_in, [a], offset=4000)
    direct = module.InferInput("INPUT1", [1, 1000], "INT32").set_data_from_numpy(b)
    # One input in shared memory before, and one behind, the one that is not.
    for inputs in ([tensor(module, "INPUT0", a, name_in, 4000, 4000), direct], [direct, tensor(module, "INPUT0", a, name_in, 4000, 4000)]):
        shm.set_shared_memory_region(handle_out, [np.zeros(2048, dtype=np.int32)])
        result = client.infer(model, inputs, outputs=[output(module, "OUTPUT0", name_out, 8000, 100), module.InferRequestedOutput("OUTPUT1")])
        assert np.array_equal(shm.get_contents_as_numpy(handle_out, np.int32, [1, 1000], offset=100), a)
        assert np.array_equal(result.as_numpy("OUTPUT1"), b)
        where = result.get_output("OUTPUT0")
        if module is triton_grpc:
            p = where.parameters
            got = (p["shared_memory_region"].string_param, p["shared_memory_byte_size"].int64_param, p["shared_memory_offset"].int64_param)
            assert list(where.shape) == [1, 1000] and where.datatype == "INT32"
        else:
            p = where["parameters"]
            got = (p["shared_memory_region"], p["shared_memory_byte_size"], p["shared_memory_offset"])
            assert where["shape"] == [1, 1000] and where["datatype"] == "INT32" and "data" not in where
        assert got == (name_out, 4000, 100)


def test_strings_and_classes(client, module, region):
    strings = np.array([["a", "", "grün"]], dtype=object)
    raw = serialize_byte_tensor(strings)
    name, handle = region(4096)
    shm.set_shared_memory_region(handle, [raw])
    size = len(raw.item())
    client.infer("echo", [tensor(module, "INPUT0", strings, name, size, dtype="BYTES")], outputs=[output(module, "OUTPUT0", name, 1000, 2000)])
    assert [s.decode() for s in shm.get_contents_as_numpy(handle, np.object_, [3], offset=2000)] == ["a", "", "grün"]
    # A length that points beyond the region is found in the copy that was taken.
    shm.set_shared_memory_region(handle, [np.array([2**31 - 1], dtype=np.uint32)])
    with pytest.raises(InferenceServerException, match="INPUT0"):
        client.infer("echo", [tensor(module, "INPUT0", strings, name, size, dtype="BYTES")])


def test_what_does_not_fit(client, module, region):
    array = np.zeros((1, 100), dtype=np.int32)
    name, _ = region(400)
    cases = [(tensor(module, "INPUT0", array, "unknown", 400), None, "no shared memory region 'unknown'"),
             (tensor(module, "INPUT0", array, name, 401), None, "do not lie in"),
             (tensor(module, "INPUT0", array, name, 400, 1), None, "do not lie in"),
             (tensor(module, "INPUT0", array, name, 396), None, "INPUT0"),
             (tensor(module, "INPUT0", array, name, 400), [output(module, "OUTPUT0", name, 396)], "OUTPUT0.*400.*396"),
             (tensor(module, "INPUT0", array, name, 400), [output(module, "OUTPUT0", name, 396, 8)], "do not lie in"),
             (tensor(module, "INPUT0", array, name, 400), [output(module, "OUTPUT0", "unknown", 400)], "no shared memory region 'unknown'")]
    for input_, outputs, text in cases:
        with pytest.raises(InferenceServerException, match=text):
            client.infer("echo", [input_], outputs=outputs)
    for key, size, offset in (("/../x", 1, 0), ("/a/b", 1, 0), ("/verge-test-none", 1, 0), ("/" + name, 401, 0), ("/" + name, 1, 400)):
        with pytest.raises(InferenceServerException, match="shared memory"):
            client.register_system_shared_memory("r", key, size, offset)


def test_a_client_that_cuts_its_object_short(client, module, region):
    array = np.zeros((1, 100_000), dtype=np.int32)
    name, handle = region(400_000)
    shm.set_shared_memory_region(handle, [array])
    fd = os.open("/dev/shm/" + name, os.O_RDWR)
    os.ftruncate(fd, mmap.PAGESIZE)
    os.close(fd)
    plain = module.InferInput("INPUT0", [1, 100_000], "INT32").set_data_from_numpy(array)
    with pytest.raises(InferenceServerException, match="has become shorter"):
        client.infer("echo", [tensor(module, "INPUT0", array, name, 400_000)])
    with pytest.raises(InferenceServerException, match="has become shorter"):
        client.infer("echo", [plain], outputs=[output(module, "OUTPUT0", name, 400_000)])
    assert np.array_equal(client.infer("echo", [plain]).as_numpy("OUTPUT0"), array)


def test_objects_may_go_while_they_are_registered(client, module, region):
    array = np.arange(10, dtype=np.int32).reshape(1, 10)
    name, handle = region(40)
    shm.set_shared_memory_region(handle, [array])
    os.rename("/dev/shm/" + name, "/dev/shm/" + name + "-gone")
    try:
        result = client.infer("echo", [tensor(module, "INPUT0", array, name, 40)])
        assert np.array_equal(result.as_numpy("OUTPUT0"), array)
    finally:
        os.rename("/dev/shm/" + name + "-gone", "/dev/shm/" + name)


def test_cuda_is_not_there(client, module):
    client.unregister_cuda_shared_memory()
    status = client.get_cuda_shared_memory_status()
    assert not (status.regions if module is triton_grpc else status)
    with pytest.raises(InferenceServerException, match="CUDA"):
        client.register_cuda_shared_memory("r", b"", 0, 1)


def test_off_unless_enabled(echo_server, module):
    with module.InferenceServerClient(echo_server.address) as client:
        array = np.zeros((1, 1), dtype=np.int32)
        for ask in (client.get_system_shared_memory_status, lambda: client.register_system_shared_memory("r", "/r", 1),
                    lambda: client.infer("echo", [tensor(module, "INPUT0", array, "r", 4)])):
            with pytest.raises(InferenceServerException, match="not enabled") as raised:
                ask()
            assert raised.value.status() in ("StatusCode.UNIMPLEMENTED", "501")
        metadata = client.get_server_metadata()
        assert "system_shared_memory" not in (metadata.extensions if module is triton_grpc else metadata["extensions"])
