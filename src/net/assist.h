// extended_inference.ExtendedInferenceService, the ASSIST-IoT inference service, over the same models. The protocol names no model: gRPC
// metadata `verge-model` does, or ServerOptions::assist_model, or there is only one.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "net/message_stream.h"

namespace verge::net {

class Service;

inline constexpr std::string_view kAssistModelHeader = "verge-model";

// What the service has to know of models; one a front. Looked up again when what is served has changed.
class AssistModels {
 public:
  struct Model {
    std::string name;
    std::vector<TensorSpec> inputs, outputs;
  };

  void forget();  // what is served has changed
  // The model that a call with this header means; an error that says how to name one.
  Result<const Model*> find(Service& service, std::string_view header);

 private:
  std::map<std::string, Model, std::less<>> known_;
  std::string only_;  // the model, where there is one
  bool looked_ = false;
};

extern const StreamMethod kAssistPredict;

}  // namespace verge::net
