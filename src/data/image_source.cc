// Folders of JPEG, PNG and BMP files, passed on as they are: a model's decode step turns them into pixels.
#include <algorithm>
#include <cstring>
#include <map>

#include "data/bytes.h"
#include "data/convert.h"
#include "data/source.h"

namespace verge::data {
namespace {

constexpr size_t kMaxImages = 4'000'000;
constexpr uint64_t kMaxImageBytes = uint64_t{64} << 20;

bool is_image(std::string name) {
  for (char& c : name) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  return name.ends_with(".jpg") || name.ends_with(".jpeg") || name.ends_with(".png") || name.ends_with(".bmp");
}

class ImageSource : public Source {
 public:
  struct Image {
    std::string path;
    std::string label;
  };
  int64_t samples() const override { return static_cast<int64_t>(images.size()); }
  Status read(int64_t first, int64_t count, Dataset* out) const override {
    Tensor t;
    t.dtype = DType::kBytes;
    t.shape = {count};
    std::vector<std::string> labels;
    for (int64_t i = first; i < first + count; ++i) {
      const Image& image = images[static_cast<size_t>(i)];
      VERGE_ASSIGN(const std::string bytes, os::read_file(image.path, kMaxImageBytes));
      if (t.data.size() + bytes.size() > kMaxLoadedBytes)
        return resource_exhausted(image.path + ": the images are too large together; name a smaller range of samples");
      const auto n = static_cast<uint32_t>(bytes.size());
      const size_t at = t.data.size();
      t.data.resize(at + sizeof n + n);
      std::memcpy(t.data.data() + at, &n, sizeof n);
      std::memcpy(t.data.data() + at + sizeof n, bytes.data(), n);
      labels.push_back(image.label);
    }
    VERGE_ASSIGN(out->inputs[input->name], fit_input(std::move(t), *input, folder));
    if (labeled) {
      VERGE_ASSIGN(out->labels, labels_from_text(labels, label_names, label_file.empty() ? folder : label_file));
    }
    return {};
  }

  const TensorSpec* input = nullptr;
  std::string folder, label_file;
  std::vector<Image> images;
  bool labeled = false;
  std::vector<std::string> label_names;
};

// Lines "FILE,LABEL" (also parted by a tab), or one label a line for the files in the order of their names.
Status read_labels(ImageSource* source) {
  VERGE_ASSIGN(const auto lines, read_lines(source->label_file));
  std::map<std::string, std::string> by_file;
  for (const auto& image : source->images) by_file[os::base_name(image.path)];
  size_t named = 0;
  for (const auto& line : lines) {
    const size_t cut = line.find_first_of(",\t");
    if (cut == std::string::npos) continue;
    const auto it = by_file.find(line.substr(0, cut));
    if (it == by_file.end()) continue;
    it->second = line.substr(cut + 1);
    ++named;
  }
  if (named == 0 && lines.size() == source->images.size()) {
    for (size_t i = 0; i < lines.size(); ++i) source->images[i].label = lines[i];
    return {};
  }
  for (auto& image : source->images) {
    image.label = by_file[os::base_name(image.path)];
    if (image.label.empty())
      return invalid_argument(source->label_file + ": has no line \"" + os::base_name(image.path) +
                              ",LABEL\" (or one label a line for each of the " + std::to_string(source->images.size()) +
                              " images in the order of their names)");
  }
  return {};
}

}  // namespace

OpenedSource open_images(const SourceContext& context) {
  auto source = std::make_unique<ImageSource>();
  VERGE_ASSIGN(source->input, only_input(context));
  source->folder = context.spec.path;
  source->label_file = context.spec.labels;
  source->label_names = context.label_names;
  VERGE_ASSIGN(const auto names, os::list_dir(source->folder));
  std::vector<std::string> classes;
  for (const auto& name : names) {
    if (os::is_dir(os::join(source->folder, name)))
      classes.push_back(name);
    else if (is_image(name))
      source->images.push_back({os::join(source->folder, name), ""});
    if (source->images.size() > kMaxImages) return resource_exhausted(source->folder + ": has too many images");
  }
  if (!source->images.empty()) {
    if (!source->label_file.empty()) {
      VERGE_RETURN_IF_ERROR(read_labels(source.get()));
      source->labeled = true;
    }
    return std::unique_ptr<Source>(std::move(source));
  }
  if (!source->label_file.empty())
    return invalid_argument(source->folder + ": 'labels' is for images that lie in the folder itself; sub-folders are classes");
  // A folder a class. One image of each class in turn, so that any range of samples has all classes.
  std::vector<std::vector<std::string>> files(classes.size());
  size_t total = 0, most = 0;
  for (size_t c = 0; c < classes.size(); ++c) {
    const std::string dir = os::join(source->folder, classes[c]);
    VERGE_ASSIGN(const auto inside, os::list_dir(dir));
    for (const auto& name : inside)
      if (is_image(name)) files[c].push_back(os::join(dir, name));
    most = std::max(most, files[c].size());
    if ((total += files[c].size()) > kMaxImages) return resource_exhausted(source->folder + ": has too many images");
  }
  if (total == 0) return invalid_argument(source->folder + ": has no .jpg, .jpeg, .png or .bmp files, in itself or in sub-folders");
  if (source->label_names.empty()) source->label_names = classes;
  for (size_t i = 0; i < most; ++i)
    for (size_t c = 0; c < classes.size(); ++c)
      if (i < files[c].size()) source->images.push_back({files[c][i], classes[c]});
  source->labeled = true;
  return std::unique_ptr<Source>(std::move(source));
}

}  // namespace verge::data
