// Arrays on disk of which a range of samples can be read: npy, npz members, IDX, raw.
#pragma once

#include <memory>
#include <string>

#include "core/tensor.h"
#include "data/bytes.h"
#include "data/zip.h"

namespace verge::data {

// Samples lie along the first axis.
class Array {
 public:
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t samples() const { return shape_[0]; }
  const std::string& what() const { return what_; }  // for errors: the file, or the file and its key
  // Samples first … first + count - 1, which there must be.
  Result<Tensor> read(int64_t first, int64_t count) const;

 private:
  friend Result<Array> npy_array(std::shared_ptr<const ByteSource>, std::string);
  friend Result<Array> open_idx(const std::string&);
  friend Result<Array> open_raw(const std::string&, DType, const Shape&);
  DType dtype_ = DType::kInvalid;
  Shape shape_;
  std::string what_;
  std::shared_ptr<const ByteSource> bytes_;
  uint64_t offset_ = 0;  // of the first element in bytes_
  bool big_endian_ = false;
  std::shared_ptr<const Tensor> strings_;  // BYTES arrays are held whole
};

Result<Array> open_npy(const std::string& path);
Result<Array> open_npz(const ZipArchive& zip, const std::string& path, const std::string& key);
// Plain or gzip.
Result<Array> open_idx(const std::string& path);
// Elements without a header; how many samples there are follows from the file's size.
Result<Array> open_raw(const std::string& path, DType dtype, const Shape& sample);

// Elements first … first + count - 1 of a BYTES tensor in wire form.
Tensor slice_strings(const Tensor& t, int64_t first, int64_t count);

}  // namespace verge::data
