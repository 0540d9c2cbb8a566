// Runs a loaded model over samples from npy files: what a worker verifies, evaluates and measures with.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"
#include "engine/catalog.h"
#include "os/files.h"

namespace verge::engine {

// Memory that every engine is happy with: aligned to a cache line, kept between runs.
class AlignedBuffer {
 public:
  bool reserve(size_t bytes);  // false when memory is short; the content is lost where it grows
  std::byte* data() { return data_.get(); }
  size_t capacity() const { return capacity_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t capacity_ = 0;
};

// Samples for every input of an artifact's signature.
class SampleSet {
 public:
  // `files`: npy files, batch first, by network tensor name; `names`: network name -> artifact's name, where they differ.
  static Result<SampleSet> open(const Signature& signature, const std::map<std::string, std::string>& files,
                                const std::map<std::string, std::string>& names);
  // One sample of made-up values (a free dimension becomes 1), for measuring where no real ones are at hand.
  static Result<SampleSet> synthetic(const Signature& signature);

  int64_t samples() const { return samples_; }
  bool inputs_batched() const { return inputs_batched_; }  // every input has its batch axis in front
  bool batched() const { return batched_; }                // and so has every output: several samples may share a run
  // The inputs of a run over samples first … first + count - 1, the last one repeated up to a batch of `padded`. Valid until the next
  // call; buffers stay the same as long as sizes do.
  Result<std::span<const verge_tensor>> gather(int64_t first, int64_t count, int64_t padded);

 private:
  struct Column {
    std::string name;
    DType dtype = DType::kInvalid;
    Shape shape;    // of a run of one sample
    int axis = -1;  // the batch axis in it
    int64_t samples = 0;
    size_t sample_bytes = 0;     // not for BYTES
    int64_t sample_elements = 0;
    const std::byte* data = nullptr;
    std::optional<os::MappedFile> map;
    Tensor owned;
    std::vector<uint64_t> offsets;  // BYTES: of all samples
    std::vector<std::byte> blob;
    AlignedBuffer run_data;
    std::vector<uint64_t> run_offsets;
  };
  static Result<Column> open_column(const TensorSpec& spec, const std::string& path);
  Status finish(const Signature& signature);

  std::vector<Column> columns_;
  std::vector<verge_tensor> tensors_;
  int64_t samples_ = 0;
  bool inputs_batched_ = false;
  bool batched_ = false;
};

// What samples can be run through: a model, or a chain of them.
class Runnable {
 public:
  virtual ~Runnable() = default;
  virtual Status run(std::span<const verge_tensor> inputs) = 0;
  virtual std::span<const verge_tensor> outputs() const = 0;  // of the last run
};

// An instance with buffers for its outputs, lent to the engine where it takes them, as a server does.
class Runner : public Runnable {
 public:
  static Result<Runner> create(const std::shared_ptr<Model>& model, const std::vector<int>& cores, int threads);
  Runner(Runner&&) = default;
  Runner& operator=(Runner&&) = delete;
  ~Runner() override;
  Status run(std::span<const verge_tensor> inputs) override;
  // Of the last run; checked: rank, sizes and string offsets fit together.
  std::span<const verge_tensor> outputs() const override { return outputs_; }

 private:
  Runner() = default;
  void release_outputs();
  Status check_outputs();

  std::unique_ptr<Instance> instance_;
  const Signature* signature_ = nullptr;
  bool lends_ = false;
  std::vector<verge_tensor> outputs_;
  std::vector<AlignedBuffer> buffers_;
};

// Called after each run with the samples it was for: outputs hold `count` samples, and more where the run was padded.
using BatchSink = std::function<Status(int64_t first, int64_t count, std::span<const verge_tensor> outputs)>;
// Runs over all samples in batches of at most `batch`, or in the sizes that a model with fixed batches has.
Status run_batches(Runnable& runner, SampleSet& samples, const std::vector<int64_t>& fixed_batches, int64_t batch, const BatchSink& sink);

struct Comparison {
  double max_abs_diff = 0;  // over elements that are numbers on both sides
  int64_t samples = 0;
  int64_t not_numbers = 0;      // elements that are NaN or infinite on one side only
  int64_t unequal_strings = 0;
  int64_t elements = 0;
};
// Compares the outputs, which are those of `signature`, with the reference's in `files` (npy, by network tensor name).
Result<Comparison> compare_outputs(Runnable& runner, SampleSet& samples, const Signature& signature, const std::vector<int64_t>& fixed_batches, int64_t batch,
                                   const std::map<std::string, std::string>& files, const std::map<std::string, std::string>& names);

// Writes output i to path(i), one npy file each, as the runs go.
Status write_outputs(Runnable& runner, SampleSet& samples, const Signature& signature, const std::vector<int64_t>& fixed_batches, int64_t batch,
                     const std::function<std::string(size_t)>& path);

}  // namespace verge::engine
