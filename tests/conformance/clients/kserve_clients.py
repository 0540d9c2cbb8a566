"""KServe's inference clients."""
import asyncio

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

from .arrays import A, B


def request(binary):
    inputs = []
    for i, x in enumerate((A, B)):
        t = InferInput(name=f"INPUT{i}", shape=[1, 16], datatype="INT32")
        t.set_data_from_numpy(x, binary_data=binary)
        inputs.append(t)
    return InferRequest(model_name="simple", infer_inputs=inputs, request_id="r1")


def check(answer):
    outputs = {o.name: o.as_numpy() for o in answer.outputs}
    assert np.array_equal(outputs["OUTPUT0"].reshape(1, 16), A + B) and np.array_equal(outputs["OUTPUT1"].reshape(1, 16), A - B)


def rest_infer(server):
    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
        for binary in (False, True):
            check(await client.infer(f"http://{server.address}", request(binary), model_name="simple"))
        await client.close()

    asyncio.run(run())


def rest_health(server):
    async def run():
        client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
        base = f"http://{server.address}"
        assert await client.is_server_live(base) and await client.is_server_ready(base) and await client.is_model_ready(base, "simple")
        await client.close()

    asyncio.run(run())


def grpc_infer(server):
    async def run():
        client = InferenceGRPCClient(server.address)
        check(await client.infer(request(True)))
        await client.close()

    asyncio.run(run())


def grpc_health(server):
    async def run():
        client = InferenceGRPCClient(server.address)
        assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready("simple")
        await client.close()

    asyncio.run(run())
