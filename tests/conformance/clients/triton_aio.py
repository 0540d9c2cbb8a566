"""tritonclient with asyncio."""
import asyncio

import tritonclient.grpc as grpc
import tritonclient.grpc.aio as grpc_aio
import tritonclient.http as http
import tritonclient.http.aio as http_aio

from .arrays import A, B, check_sums


def sums(module):
    return [module.InferInput(f"INPUT{i}", [1, 16], "INT32").set_data_from_numpy(x) for i, x in enumerate((A, B))]


def grpc_infer(server):
    async def run():
        async with grpc_aio.InferenceServerClient(server.address) as c:
            assert await c.is_server_live() and await c.is_model_ready("simple")
            assert (await c.get_model_metadata("simple")).name == "simple"
            for result in await asyncio.gather(*[c.infer("simple", sums(grpc)) for _ in range(50)]):
                check_sums(result)

    asyncio.run(run())


def http_infer(server):
    async def run():
        async with http_aio.InferenceServerClient(server.address) as c:
            assert await c.is_server_live() and await c.is_model_ready("simple")
            assert (await c.get_model_metadata("simple"))["name"] == "simple"
            for result in await asyncio.gather(*[c.infer("simple", sums(http)) for _ in range(50)]):
                check_sums(result)

    asyncio.run(run())


def grpc_stream(server):
    async def run():
        async with grpc_aio.InferenceServerClient(server.address) as c:
            async def requests():
                for i in range(20):
                    yield {"model_name": "simple", "inputs": sums(grpc), "request_id": str(i)}

            seen = 0
            async for result, error in c.stream_infer(inputs_iterator=requests(), stream_timeout=20):
                assert error is None, error
                check_sums(result)
                assert result.get_response().id == str(seen)
                seen += 1
            assert seen == 20

    asyncio.run(run())
