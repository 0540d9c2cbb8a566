// Bounded reading of a FlatBuffers file. Every offset is checked before it is followed: a reader that meets one outside the file
// answers "absent" and remembers that the file is broken, so that parsing code needs one check at its end.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace verge::litert {

class FlatBuffer {
 public:
  FlatBuffer(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  size_t size() const { return size_; }
  const uint8_t* data() const { return data_; }
  bool broken() const { return broken_; }
  void mark_broken() const { broken_ = true; }

  bool covers(uint64_t at, uint64_t bytes) const { return at <= size_ && bytes <= size_ - at; }

  // The scalar at `at`; 0 outside the file.
  template <typename T>
  T read(uint64_t at) const {
    T value{};
    if (!covers(at, sizeof(T))) {
      broken_ = true;
      return value;
    }
    std::memcpy(&value, data_ + at, sizeof(T));
    return value;
  }

 private:
  const uint8_t* data_;
  size_t size_;
  mutable bool broken_ = false;
};

// A vector of scalars or of offsets to tables.
class FlatVector {
 public:
  FlatVector() = default;
  // `at` is where the length stands.
  FlatVector(const FlatBuffer* file, uint64_t at, uint32_t element_bytes) : file_(file), element_bytes_(element_bytes) {
    size_ = file->read<uint32_t>(at);
    begin_ = at + 4;
    if (!file->covers(begin_, uint64_t{size_} * element_bytes)) {
      file->mark_broken();
      size_ = 0;
    }
  }

  explicit operator bool() const { return file_ != nullptr; }
  uint32_t size() const { return size_; }
  uint64_t begin() const { return begin_; }

  template <typename T>
  T at(uint32_t i) const {
    if (i >= size_ || sizeof(T) > element_bytes_) {
      if (file_) file_->mark_broken();
      return T{};
    }
    return file_->read<T>(begin_ + uint64_t{i} * element_bytes_);
  }
  const FlatBuffer* file() const { return file_; }

 private:
  const FlatBuffer* file_ = nullptr;
  uint64_t begin_ = 0;
  uint32_t size_ = 0;
  uint32_t element_bytes_ = 1;
};

class FlatTable {
 public:
  FlatTable() = default;
  FlatTable(const FlatBuffer* file, uint64_t at) : file_(file), at_(at) {
    const int64_t back = file->read<int32_t>(at);
    const int64_t vtable = static_cast<int64_t>(at) - back;
    if (vtable < 0 || !file->covers(static_cast<uint64_t>(vtable), 4)) {
      fail();
      return;
    }
    vtable_ = static_cast<uint64_t>(vtable);
    vtable_bytes_ = file->read<uint16_t>(vtable_);
    table_bytes_ = file->read<uint16_t>(vtable_ + 2);
    if (vtable_bytes_ < 4 || vtable_bytes_ % 2 || table_bytes_ < 4 || !file->covers(vtable_, vtable_bytes_) ||
        !file->covers(at, table_bytes_))
      fail();
  }
  static FlatTable root(const FlatBuffer* file) { return FlatTable(file, file->read<uint32_t>(0)); }

  explicit operator bool() const { return file_ != nullptr; }

  template <typename T>
  T scalar(uint32_t field, T absent = T{}) const {
    const uint64_t at = position(field, sizeof(T));
    return at ? file_->read<T>(at) : absent;
  }
  FlatTable table(uint32_t field) const {
    const uint64_t at = target(field);
    return at ? FlatTable(file_, at) : FlatTable();
  }
  FlatVector vector(uint32_t field, uint32_t element_bytes) const {
    const uint64_t at = target(field);
    return at ? FlatVector(file_, at, element_bytes) : FlatVector();
  }
  std::string_view string(uint32_t field) const {
    const FlatVector v = vector(field, 1);
    return v ? std::string_view(reinterpret_cast<const char*>(file_->data()) + v.begin(), v.size()) : std::string_view();
  }
  // Element `i` of a vector of tables.
  static FlatTable element(const FlatVector& tables, uint32_t i) {
    const uint32_t offset = tables.at<uint32_t>(i);
    if (!tables.file() || tables.file()->broken()) return {};
    return FlatTable(tables.file(), tables.begin() + uint64_t{i} * 4 + offset);
  }

 private:
  void fail() {
    file_->mark_broken();
    file_ = nullptr;
  }
  // Where a field's bytes stand; 0 when the field is absent.
  uint64_t position(uint32_t field, size_t bytes) const {
    if (!file_) return 0;
    const uint32_t slot = 4 + 2 * field;
    if (slot + 2 > vtable_bytes_) return 0;
    const uint32_t offset = file_->read<uint16_t>(vtable_ + slot);
    if (offset == 0) return 0;
    if (offset < 4 || offset + bytes > table_bytes_) {
      file_->mark_broken();
      return 0;
    }
    return at_ + offset;
  }
  uint64_t target(uint32_t field) const {
    const uint64_t at = position(field, 4);
    if (!at) return 0;
    const uint64_t to = at + file_->read<uint32_t>(at);
    if (to == at || !file_->covers(to, 4)) {
      file_->mark_broken();
      return 0;
    }
    return to;
  }

  const FlatBuffer* file_ = nullptr;
  uint64_t at_ = 0, vtable_ = 0;
  uint32_t vtable_bytes_ = 0, table_bytes_ = 0;
};

}  // namespace verge::litert
