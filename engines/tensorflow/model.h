// A loaded SavedModel, its sessions, and its instances.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/plugin.h"
#include "saved_model.h"
#include "tf_api.h"

namespace verge::tensorflow {

// A status of TensorFlow's, checked after each call.
class TfStatus {
 public:
  explicit TfStatus(const TfApi& api) : api_(api), status_(api.TF_NewStatus()) {}
  ~TfStatus() { api_.TF_DeleteStatus(status_); }
  TfStatus(const TfStatus&) = delete;
  TfStatus& operator=(const TfStatus&) = delete;
  TF_Status* get() const { return status_; }
  bool ok() const { return api_.TF_GetCode(status_) == TF_OK; }
  // Throws unless ok. The message is cut after its first line: TensorFlow appends graphs and stacks.
  void check(const std::string& what) const;

 private:
  const TfApi& api_;
  TF_Status* status_;
};

// A serialised ConfigProto for so many threads, CPU only.
std::string session_config(int threads);

class Session {
 public:
  Session(const TfApi& api, const std::string& folder, const verge_plugin::Placement& placement);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  TF_Session* get() const { return session_; }
  // "node:1" as the graph knows it; throws if it does not.
  TF_Output output(const std::string& tensor) const;

 private:
  const TfApi& api_;
  TF_Graph* graph_ = nullptr;
  TF_Session* session_ = nullptr;
};

struct Engine {
  TfApi api{};
  uint64_t fixed_cost = 0;
};

}  // namespace verge::tensorflow

struct verge_engine : verge::tensorflow::Engine {};

struct verge_model {
  verge::tensorflow::Engine* engine = nullptr;
  std::string folder;
  verge::tensorflow::SavedModel parsed;
  const verge::tensorflow::SignatureEntry* signature = nullptr;
  std::vector<verge_tensor_info> inputs, outputs;
  std::vector<int64_t> fixed_batches;
  std::string precision, precision_source;
  verge_model_info info{};

  verge_model(verge::tensorflow::Engine* owner, const verge_artifact& artifact, const verge_plugin::Placement& placement);
  // A session is safe to run from several threads: instances of the same placement share it and its variables.
  std::shared_ptr<verge::tensorflow::Session> session(const verge_plugin::Placement& placement);

 private:
  void describe(int64_t stated_batch);
  void describe_precision();
  std::mutex mutex_;
  std::shared_ptr<verge::tensorflow::Session> first_;
  verge_plugin::Placement first_placement_;
  struct Shared {
    verge_plugin::Placement placement;
    std::weak_ptr<verge::tensorflow::Session> session;
  };
  std::vector<Shared> others_;
};

namespace verge::tensorflow {
int32_t dtype_of(int tf_type);  // VERGE_DTYPE_INVALID for types that are not served
TF_DataType tf_type_of(int32_t dtype);
}  // namespace verge::tensorflow
