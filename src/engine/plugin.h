// Opens plugins and speaks their C interface: what catalog, models and the contract check have in common.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "core/json.h"
#include "engine/catalog.h"

namespace verge::engine {

// Caller-owned verge_status with room for a message, on the stack. take() makes the Status of a returned code.
class StatusBuffer {
 public:
  StatusBuffer() : status_{sizeof(verge_status), VERGE_OK, message_, sizeof message_} { message_[0] = 0; }
  StatusBuffer(const StatusBuffer&) = delete;
  StatusBuffer& operator=(const StatusBuffer&) = delete;
  verge_status* get() { return &status_; }
  // `what` names the engine and the step where the plugin gave no message.
  Status take(verge_code code, std::string_view what) const;

 private:
  char message_[1024];
  verge_status status_;
};

// Options in C form; the strings must outlive it.
class COptions {
 public:
  template <typename Pairs>
  explicit COptions(const Pairs& pairs) {
    for (const auto& [key, value] : pairs) items_.push_back({key.c_str(), value.c_str()});
    options_ = {sizeof(verge_options), static_cast<uint32_t>(items_.size()), items_.data()};
  }
  COptions(const COptions&) = delete;
  COptions& operator=(const COptions&) = delete;
  const verge_options* get() const { return &options_; }

 private:
  std::vector<verge_option> items_;
  verge_options options_;
};

// Reads a descriptor. Never fails: what is wrong with it stands in `unavailable`.
Descriptor read_descriptor(const std::string& path);
// The descriptor of a plugin named by its shared object or its descriptor file.
Result<std::string> descriptor_path(const std::string& plugin_or_descriptor);

// Opens the libraries to preload and the plugin, which stay mapped until the process ends, and checks the interface's version and sizes.
Result<const verge_engine_vtable*> open_plugin(const Descriptor& descriptor, const verge_host_api* host);
// What is wrong with a plugin's function table; ok if nothing.
Status check_vtable(const verge_engine_vtable* vtable, std::string_view engine);

// "library.NAME" = path, for every library found.
std::vector<std::pair<std::string, std::string>> library_config(const Descriptor& descriptor);

// The plugin's description of a tensor, checked.
Result<TensorSpec> tensor_spec(const verge_tensor_info* info, std::string_view what);
// Steps through an array of sized structs whose element size is what the plugin was built with.
const verge_tensor_info* info_at(const verge_tensor_info* array, uint32_t index);

}  // namespace verge::engine
