// One opened data set of any format, from which a range of samples can be read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "data/dataset.h"

namespace verge::data {

struct SourceContext {
  const DatasetSpec& spec;
  const std::vector<TensorSpec>& inputs;
  const std::vector<std::string>& label_names;
};

class Source {
 public:
  virtual ~Source() = default;
  virtual int64_t samples() const = 0;
  // Fills inputs and labels with samples first … first + count - 1, in the types of the served inputs.
  virtual Status read(int64_t first, int64_t count, Dataset* out) const = 0;
};

using OpenedSource = Result<std::unique_ptr<Source>>;
OpenedSource open_arrays(const SourceContext& context, const std::string& format);  // npy, npz, idx, raw
OpenedSource open_csv(const SourceContext& context);
OpenedSource open_images(const SourceContext& context);

// Lines of a text file without line ends, a last empty one dropped. Bounded.
Result<std::vector<std::string>> read_lines(const std::string& path);

// The only served input, or an error that says how to name the file of each.
Result<const TensorSpec*> only_input(const SourceContext& context);

}  // namespace verge::data
