#include "net/grpc_reflection.h"

#include <map>
#include <string>
#include <vector>

#include "net/front.h"
#include "net/grpc_reply.h"
#include "net/proto_descriptors.h"
#include "net/utf8.h"

namespace verge::net {
namespace {

using wire::Field;
using wire::Reader;

// What a FileDescriptorSet says, indexed. Views into the program itself.
class Descriptors {
 public:
  struct File {
    std::string_view name, bytes;
    std::vector<std::string_view> imports;
  };

  static const Descriptors& get() {
    static const Descriptors all;
    return all;
  }
  const File* by_name(std::string_view name) const {
    for (const File& f : files_)
      if (f.name == name) return &f;
    return nullptr;
  }
  const File* by_symbol(std::string_view symbol) const {
    const auto at = symbols_.find(symbol);
    return at == symbols_.end() ? nullptr : &files_[at->second];
  }
  const std::vector<std::string>& services() const { return services_; }
  bool is_message(std::string_view symbol) const { return messages_.contains(symbol); }

 private:
  // Numbers of FileDescriptorProto, DescriptorProto, EnumDescriptorProto, ServiceDescriptorProto.
  Descriptors() {
    Reader set({reinterpret_cast<const char*>(kProtoDescriptors), sizeof kProtoDescriptors});
    Field f;
    while (set.next(&f))
      if (f.number == 1) add_file(f.bytes);
  }

  void add_file(std::string_view bytes) {
    File file;
    file.bytes = bytes;
    std::string package;
    each(bytes, [&](const Field& f) {
      if (f.number == 1) file.name = f.bytes;
      if (f.number == 2) package = std::string(f.bytes) + ".";
      if (f.number == 3) file.imports.push_back(f.bytes);
    });
    files_.push_back(std::move(file));
    each(bytes, [&](const Field& f) {
      if (f.number == 4) add_message(package, f.bytes);
      if (f.number == 5) add(package + name_of(f.bytes));
      if (f.number == 6) {
        const std::string service = package + name_of(f.bytes);
        services_.push_back(service);
        add(service);
        each(f.bytes, [&](const Field& m) {
          if (m.number == 2) add(service + "." + name_of(m.bytes));
        });
      }
    });
  }
  void add_message(const std::string& scope, std::string_view bytes) {
    const std::string name = scope + name_of(bytes);
    add(name);
    messages_.emplace(name, true);
    each(bytes, [&](const Field& f) {
      if (f.number == 3) add_message(name + ".", f.bytes);
      if (f.number == 2 || f.number == 4) add(name + "." + name_of(f.bytes));
    });
  }
  void add(std::string symbol) { symbols_.emplace(std::move(symbol), files_.size() - 1); }

  template <typename Fn>
  static void each(std::string_view bytes, Fn fn) {
    Reader reader(bytes);
    Field f;
    while (reader.next(&f))
      if (f.type == wire::kBytes) fn(f);
  }
  static std::string name_of(std::string_view bytes) {
    std::string name;
    each(bytes, [&](const Field& f) {
      if (f.number == 1) name = f.bytes;
    });
    return name;
  }

  std::vector<File> files_;
  std::map<std::string, size_t, std::less<>> symbols_;
  std::map<std::string, bool, std::less<>> messages_;
  std::vector<std::string> services_;
};

// The file and all that it imports.
void add_with_imports(const Descriptors::File& file, std::vector<const Descriptors::File*>& out) {
  for (const auto* f : out)
    if (f == &file) return;
  out.push_back(&file);
  for (std::string_view name : file.imports)
    if (const auto* import = Descriptors::get().by_name(name)) add_with_imports(*import, out);
}

void add_files(ByteBuffer& text, const Descriptors::File& file) {
  std::vector<const Descriptors::File*> files;
  add_with_imports(file, files);
  size_t size = 0;
  for (const auto* f : files) size += wire::bytes_size(1, f->bytes.size());
  wire::add_length(text, 4, size);
  for (const auto* f : files) wire::add_bytes(text, 1, f->bytes);
}

void add_services(ByteBuffer& text) {
  size_t size = 0;
  for (const std::string& name : Descriptors::get().services()) size += wire::bytes_size(1, wire::bytes_size(1, name.size()));
  wire::add_length(text, 6, size);
  for (const std::string& name : Descriptors::get().services()) {
    wire::add_length(text, 1, wire::bytes_size(1, name.size()));
    wire::add_bytes(text, 1, name);
  }
}

void add_error(ByteBuffer& text, const Status& status) {
  const auto code = static_cast<uint64_t>(status.code());
  wire::add_length(text, 7, 1 + wire::varint_size(code) + wire::bytes_size(2, status.message().size()));
  wire::add_tag(text, 1, wire::kVarint);
  wire::add_varint(text, code);
  wire::add_bytes(text, 2, status.message());
}

void handle_reflection(Service& service, Call* call) {
  const std::string_view message = call->body.text();
  Field f, asked;
  std::string_view host;
  Reader reader(message);
  bool utf8 = true;
  while (reader.next(&f)) {
    if (f.type != wire::kBytes) continue;
    if (f.number == 1) host = f.bytes;
    if (f.number >= 3 && f.number <= 7) asked = f;
    utf8 = utf8 && (f.number == 5 || valid_utf8(f.bytes));
  }
  if (!reader.ok() || !utf8) return service.fail(call, malformed_message());
  ByteBuffer& text = start_message(call);
  wire::add_string(text, 1, host);
  wire::add_bytes(text, 2, message);
  const Descriptors& all = Descriptors::get();
  const std::string name(asked.bytes.substr(0, 256));
  switch (asked.number) {
    case 3:
      if (const auto* file = all.by_name(asked.bytes))
        add_files(text, *file);
      else
        add_error(text, not_found("there is no file '" + name + "'"));
      break;
    case 4:
      if (const auto* file = all.by_symbol(asked.bytes))
        add_files(text, *file);
      else
        add_error(text, not_found("there is no symbol '" + name + "'"));
      break;
    case 5: add_error(text, not_found("there are no extensions")); break;
    case 6:
      if (all.is_message(asked.bytes)) {
        wire::add_length(text, 5, wire::bytes_size(1, asked.bytes.size()));
        wire::add_bytes(text, 1, asked.bytes);
      } else {
        add_error(text, not_found("there is no message '" + name + "'"));
      }
      break;
    case 7: add_services(text); break;
    default: add_error(text, invalid_argument("the request asks for nothing")); break;
  }
  answer_message(service, call);
}

}  // namespace

const StreamMethod kReflection = {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", handle_reflection, nullptr, nullptr};
const StreamMethod kReflectionAlpha = {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", handle_reflection, nullptr, nullptr};

}  // namespace verge::net
