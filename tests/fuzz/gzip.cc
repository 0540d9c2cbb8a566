// Compressed messages: our inflater, step by step and within its limit, against zlib at once; and there and back.
#include <zlib.h>

#include <cstring>
#include <memory>

#include "fuzz.h"
#include "net/compression.h"

using namespace verge;
using namespace verge::net;
using verge::fuzz::require;

namespace {

// What zlib makes of it, up to `most` bytes. False: it is malformed, or has bytes behind its end.
bool reference(Encoding encoding, std::string_view in, size_t most, std::string* out) {
  const bool gzip = encoding == Encoding::kGzip;
  do {
    z_stream z{};
    require(inflateInit2(&z, gzip ? 31 : 15) == Z_OK, "zlib starts");
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    z.avail_in = static_cast<uInt>(in.size());
    int result = Z_OK;
    char piece[1000];
    while (result == Z_OK && out->size() <= most) {
      z.next_out = reinterpret_cast<Bytef*>(piece);
      z.avail_out = sizeof piece;
      result = inflate(&z, Z_NO_FLUSH);
      out->append(piece, sizeof piece - z.avail_out);
    }
    in.remove_prefix(in.size() - z.avail_in);
    inflateEnd(&z);
    if (out->size() > most) return true;  // whatever follows
    if (result != Z_STREAM_END) return false;
  } while (gzip && !in.empty());
  return in.empty();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static ReceiveBudget shared(int64_t{32} << 20);
  static LocalBudget budget(shared);
  static BlockPool pool;
  static Inflater inflater;  // goes on from whatever the input before left
  fuzz::Choices choices(fuzz::text_of(data, size));
  const uint8_t how = choices.byte();
  const Encoding encoding = how & 1 ? Encoding::kGzip : Encoding::kDeflate;
  const uint64_t limit = how & 2 ? uint64_t{choices.byte()} * 16 : uint64_t{4} << 20;
  // Of the exact size, so that a step beyond it shows.
  std::string_view input = choices.rest();
  ByteBuffer packed;
  if (how & 4) {
    Deflater deflater(encoding);
    deflater.begin();
    deflater.add(input.data(), input.size(), &packed);
    deflater.finish(&packed);
  }
  const std::string_view message = how & 4 ? packed.view() : input;
  const std::unique_ptr<char[]> exact(new char[message.size()]);
  std::memcpy(exact.get(), message.data(), message.size());

  std::string expected;
  const bool good = reference(encoding, {exact.get(), message.size()}, limit, &expected);
  {
    Body body(pool, budget);
    inflater.begin(encoding, {exact.get(), message.size()}, limit);
    Status status;
    for (int steps = 0; status.ok() && !inflater.done(); ++steps) {
      require(steps < 100, "it comes to an end");
      status = inflater.step(&body, how >> 4);
    }
    require(body.size() <= limit + 1, "the limit holds");
    require(inflater.too_large() == (expected.size() > limit), "what becomes too large");
    if (expected.size() <= limit) require(status.ok() == good, "refused is what zlib refuses:", status.to_string());
    if (status.ok()) require(body.text() == expected, "the same bytes");
    if (status.ok() && how & 4) require(body.text() == input, "there and back");
  }
  return 0;
}
