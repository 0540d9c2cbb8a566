// Pre- and post-processing: a chain of typed steps, proved when it is built and run natively for every variant.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/manifest.h"
#include "core/status.h"
#include "core/tensor.h"

namespace verge::transform {

// What a step needs to know of the model beside its input.
struct Context {
  std::span<const std::string> labels;
};

// One parameter of an operator, for validation, the published schema and the docs.
struct ParamDoc {
  std::string_view name;
  std::string_view type;  // "int", "number", "numbers", "ints", "string", "dtype", "bool"
  bool required;
  std::string_view doc;   // with unit, range and default
};
struct OpDoc {
  std::string_view op;
  std::string_view doc;
  std::vector<ParamDoc> params;
};
// Every operator, in the order of the docs. The one registration table.
std::span<const OpDoc> operators();

// What one chain may be or make, whatever a model or a request claims.
inline constexpr size_t kMaxSteps = 64;
inline constexpr int64_t kMaxStepBytes = int64_t{1} << 30;

// A step with its parameters bound and its types proved. `in` always has the type the step was proved on and a concrete shape that the
// proved one accepts; its bytes may lie at any address (no alignment).
class Step {
 public:
  virtual ~Step() = default;
  // `out` keeps its capacity between calls; its dtype and shape are set. Batch is the leading axis of what is batched.
  virtual Status run(const TensorView& in, Tensor& out) const = 0;
  // A step that only gives the same bytes another shape says so and is applied without a copy, by reshape().
  virtual bool shape_only() const { return false; }
  virtual Status reshape(Shape&) const { return {}; }
  // A step that only gives each element another value tells the type that it makes of `in`, and can write to memory of the caller's: as many elements,
  // at a multiple of their size. kInvalid: it cannot.
  virtual DType elementwise(DType) const { return DType::kInvalid; }
  virtual void run_at(const TensorView&, std::byte*) const {}
};

// Memory where the result of a chain is wanted.
class Place {
 public:
  virtual ~Place() = default;
  // At a multiple of 8 bytes; nullptr: not there. Asked at most once a run.
  virtual std::byte* take(size_t bytes) = 0;
};

// Axes and shapes in parameters are those of one sample: the batch axis, where there is one, leads and no step touches it.
// Immutable after build(); run() may be called from several threads with different Scratch.
class Chain {
 public:
  struct Scratch {
    Tensor a, b;
  };
  // `where` names the chain in errors ("input 'image'"). An error names the step: "input 'image', step 2 (resize): …".
  static Result<Chain> build(std::span<const StepSpec> steps, const TensorSpec& input, const Context& context, std::string_view where);

  const TensorSpec& input() const { return input_; }
  const TensorSpec& output() const { return output_; }
  bool empty() const { return steps_.empty(); }
  // The result is a view into `scratch` (or into `in` where the chain is empty), or lies at `place` where there is one and the last step that computes
  // can write there. Data errors (a broken JPEG) are kInvalidArgument with
  // the step's name.
  Result<TensorView> run(const TensorView& in, Scratch& scratch, Place* place = nullptr) const;

 private:
  TensorSpec input_, output_;
  std::vector<std::shared_ptr<const Step>> steps_;
  size_t last_ = 0;  // the last one that computes
  std::vector<std::string> names_;
};

}  // namespace verge::transform
