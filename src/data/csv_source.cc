#include "data/bytes.h"
#include "data/convert.h"
#include "data/csv.h"
#include "data/source.h"

namespace verge::data {
namespace {

class CsvSource : public Source {
 public:
  CsvSource(const SourceContext& context, const TensorSpec* input, SharedFile file)
      : spec_(context.spec), input_(input), label_names_(context.label_names), file_(std::move(file)) {}

  // Counting means parsing: what a row holds is checked in read().
  Status open() {
    VERGE_ASSIGN(const CsvTable t, parse(0, 0));
    samples_ = t.rows_in_file;
    return {};
  }
  int64_t samples() const override { return samples_; }
  Status read(int64_t first, int64_t count, Dataset* out) const override {
    VERGE_ASSIGN(CsvTable table, parse(first, count));
    Tensor t(DType::kFp64, {table.rows, table.columns});
    std::copy(table.values.begin(), table.values.end(), t.as<double>());
    Shape sample = spec_.shape;
    if (sample.rank() == 0) {
      sample = input_->shape;
      if (input_->batch_axis == 0) sample.erase(0);
    }
    if (sample.is_static() && sample.rank() < kMaxRank) {
      if (sample.elements() != table.columns)
        return invalid_argument(spec_.path + ": has " + std::to_string(table.columns) + " feature columns; a sample " + sample.to_string() +
                                " of input '" + input_->name + "' needs " + std::to_string(sample.elements()));
      sample.insert(0, table.rows);
      t.shape = sample;
    }
    VERGE_ASSIGN(out->inputs[input_->name], fit_input(std::move(t), *input_, spec_.path));
    if (!spec_.labels.empty()) {
      VERGE_ASSIGN(out->labels, labels_from_text(table.labels, label_names_, spec_.path));
    }
    return {};
  }

 private:
  Result<CsvTable> parse(int64_t first, int64_t count) const {
    const auto b = file_->bytes();
    return parse_csv({reinterpret_cast<const char*>(b.data()), b.size()}, {spec_.columns, spec_.labels, first, count}, spec_.path);
  }
  DatasetSpec spec_;
  const TensorSpec* input_;
  const std::vector<std::string>& label_names_;
  SharedFile file_;
  int64_t samples_ = 0;
};

}  // namespace

OpenedSource open_csv(const SourceContext& context) {
  VERGE_ASSIGN(const TensorSpec* input, only_input(context));
  if (!context.spec.inputs.empty()) return invalid_argument("a CSV feeds the model's only input; 'inputs' is not for it");
  VERGE_ASSIGN(SharedFile file, map_file(context.spec.path));
  auto source = std::make_unique<CsvSource>(context, input, std::move(file));
  VERGE_RETURN_IF_ERROR(source->open());
  return std::unique_ptr<Source>(std::move(source));
}

}  // namespace verge::data
