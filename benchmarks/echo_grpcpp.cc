// The asynchronous server of grpc++ that the data plane is compared with: inference.GRPCInferenceService/ModelInfer as identity, one thread on
// one completion queue, which is its fastest form on one core.
//   echo_grpcpp     prints {"address": …}; ends when standard input is closed.
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <thread>

#include "inference.grpc.pb.h"

namespace {

using inference::GRPCInferenceService;

// One call after another; finished ones are taken again for the next.
class Call {
 public:
  Call(GRPCInferenceService::AsyncService* service, grpc::ServerCompletionQueue* queue) : service_(service), queue_(queue) { wait(); }

  void step(bool ok) {
    if (!ok) return delete this;
    if (answered_) {
      answered_ = false;
      return wait();
    }
    new_one_if_first();
    answer();
    answered_ = true;
    writer_->Finish(response_, grpc::Status::OK, this);
  }

 private:
  void wait() {
    context_ = std::make_unique<grpc::ServerContext>();
    writer_ = std::make_unique<grpc::ServerAsyncResponseWriter<inference::ModelInferResponse>>(context_.get());
    request_.Clear();
    response_.Clear();
    service_->RequestModelInfer(context_.get(), &request_, writer_.get(), queue_, queue_, this);
  }
  // As many calls are waiting as there ever were at once, plus one.
  void new_one_if_first() {
    if (std::exchange(used_, true)) return;
    new Call(service_, queue_);
  }
  void answer() {
    response_.set_model_name(request_.model_name());
    response_.set_model_version("1");
    response_.set_id(request_.id());
    for (int i = 0; i < request_.inputs_size(); ++i) {
      const auto& in = request_.inputs(i);
      auto* out = response_.add_outputs();
      out->set_name("OUTPUT0");
      out->set_datatype(in.datatype());
      *out->mutable_shape() = in.shape();
      if (i < request_.raw_input_contents_size()) response_.add_raw_output_contents()->swap(*request_.mutable_raw_input_contents(i));
    }
  }

  GRPCInferenceService::AsyncService* service_;
  grpc::ServerCompletionQueue* queue_;
  std::unique_ptr<grpc::ServerContext> context_;
  std::unique_ptr<grpc::ServerAsyncResponseWriter<inference::ModelInferResponse>> writer_;
  inference::ModelInferRequest request_;
  inference::ModelInferResponse response_;
  bool answered_ = false, used_ = false;
};

}  // namespace

int main() {
  GRPCInferenceService::AsyncService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const auto queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::printf("{\"address\":\"127.0.0.1:%d\"}\n", port);
  std::fflush(stdout);
  std::thread until_closed([&] {
    char byte;
    while (read(0, &byte, 1) > 0) {
    }
    server->Shutdown(std::chrono::system_clock::now());
    queue->Shutdown();
  });
  new Call(&service, queue.get());
  void* tag;
  bool ok;
  while (queue->Next(&tag, &ok)) static_cast<Call*>(tag)->step(ok);
  until_closed.join();
  return 0;
}
