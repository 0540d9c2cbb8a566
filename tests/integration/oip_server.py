"""A third-party server of the Open Inference Protocol: KServe's, with one model that gives back what it gets. oip_server.py REST_PORT GRPC_PORT."""

import sys

from kserve import InferOutput, InferResponse, Model, ModelServer


class Echo(Model):
    def __init__(self):
        super().__init__("echo")
        self.ready = True

    async def get_input_types(self):
        return [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]

    async def get_output_types(self):
        return [{"name": "y", "datatype": "FP32", "shape": [-1, 4]}]

    def predict(self, request, headers=None, response_headers=None):
        values = request.inputs[0].as_numpy()
        output = InferOutput("y", list(values.shape), "FP32")
        output.set_data_from_numpy(values, binary_data=False)
        return InferResponse(response_id="1", model_name="echo", infer_outputs=[output])


ModelServer(http_port=int(sys.argv[1]), grpc_port=int(sys.argv[2]), workers=1, enable_docs_url=False).start([Echo()])
