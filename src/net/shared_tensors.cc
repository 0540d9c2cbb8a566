#include "net/shared_tensors.h"

#include <string>

#include "net/shared_memory.h"

namespace verge::net {
namespace {

Result<std::shared_ptr<const SharedRegion>> region_of(const InferOptions& options, const SharedPlace& place) {
  if (!options.memory) return shared_memory_disabled();
  VERGE_ASSIGN(auto region, options.memory->find(place.region));
  VERGE_RETURN_IF_ERROR(region->check(place.offset, place.bytes));
  return region;
}

}  // namespace

Status shared_memory_disabled() { return unimplemented("shared memory is not enabled on this server (shared_memory: true)"); }

Status read_shared_input(const InferOptions& options, const SharedPlace& place, Scratch& scratch, runtime::InputTensor* input,
                         CopyCount* copies) {
  const auto where = [&] { return "input '" + std::string(input->name) + "'"; };
  auto region = region_of(options, place);
  if (!region.ok()) return region.status().prefixed(where());
  std::byte* into = scratch.allocate(static_cast<size_t>(place.bytes));
  if (!into) return resource_exhausted("no receive memory left for " + std::to_string(place.bytes) + " bytes of shared memory; try again").prefixed(where());
  input->data = {into, static_cast<size_t>(place.bytes)};
  ++copies->tensors;
  copies->bytes += place.bytes;
  Status s = region.value()->read(place.offset, {into, static_cast<size_t>(place.bytes)});
  return s.ok() ? s : s.prefixed(where());
}

Status find_shared_output(const InferOptions& options, WantedOutput* wanted) {
  auto region = region_of(options, wanted->place);
  if (!region.ok()) return region.status().prefixed("output '" + std::string(wanted->name) + "'");
  wanted->region = std::move(region).value();
  return {};
}

Status write_shared_output(WantedOutput* wanted, runtime::OutputTensor* output) {
  if (output->data.size() > wanted->place.bytes)
    return invalid_argument("output '" + std::string(output->name) + "' has " + std::to_string(output->data.size()) +
                            " bytes, its place in shared memory has " + std::to_string(wanted->place.bytes));
  if (Status s = wanted->region->write(wanted->place.offset, output->data); !s.ok())
    return s.prefixed("output '" + std::string(output->name) + "'");
  wanted->written = output->data.size();
  output->data = {};
  return {};
}

}  // namespace verge::net
