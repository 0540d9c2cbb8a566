#include "net/http1.h"

#include <gtest/gtest.h>

#include <string>

namespace verge::net {
namespace {

// The head's views point into `text`, which is a literal wherever they are looked at.
Http1Error parse(std::string_view text, Http1Head* head) { return parse_http1_head(text, head); }

int status_of(const std::string& text) {
  Http1Head head;
  return parse(text, &head).status;
}

TEST(Http1Head, ReadsARequest) {
  Http1Head head;
  const std::string text =
      "POST /v2/models/m/infer?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nINFERENCE-HEADER-CONTENT-LENGTH:\t7 \r\n"
      "Expect: 100-Continue\r\nconnection: foo, Close\r\n\r\n";
  EXPECT_EQ(parse(text, &head).status, 0);
  EXPECT_EQ(head.method, Method::kPost);
  EXPECT_EQ(head.target, "/v2/models/m/infer?x=1");
  EXPECT_EQ(head.content_length, 12);
  EXPECT_EQ(head.json_bytes, 7);
  EXPECT_TRUE(head.expect_continue);
  EXPECT_FALSE(head.keep_alive);
  EXPECT_FALSE(head.chunked);
}

TEST(Http1Head, KeepAliveByVersion) {
  Http1Head head;
  parse("GET / HTTP/1.1\r\nHost: a\r\n\r\n", &head);
  EXPECT_TRUE(head.keep_alive);
  parse("GET / HTTP/1.0\r\n\r\n", &head);
  EXPECT_FALSE(head.keep_alive);
  parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &head);
  EXPECT_TRUE(head.keep_alive);
}

TEST(Http1Head, AbsoluteForm) {
  Http1Head head;
  EXPECT_EQ(parse("GET http://host:80/v2 HTTP/1.1\r\nHost: a\r\n\r\n", &head).status, 0);
  EXPECT_EQ(head.target, "/v2");
  EXPECT_EQ(parse("GET http://host HTTP/1.1\r\nHost: a\r\n\r\n", &head).status, 0);
  EXPECT_EQ(head.target, "/");
  EXPECT_EQ(status_of("GET http:///v2 HTTP/1.1\r\nHost: a\r\n\r\n"), 400);
}

// Whatever two readers could take differently is refused.
TEST(Http1Head, RefusesSmuggling) {
  const std::string line = "POST / HTTP/1.1\r\nHost: a\r\n";
  for (const std::string fields : {
           "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
           "Content-Length: 1\r\nContent-Length: 1\r\n", "Content-Length: 1\r\nContent-Length: 2\r\n", "Content-Length: 1, 1\r\n",
           "Content-Length: +1\r\n", "Content-Length: -1\r\n", "Content-Length: 0x1\r\n", "Content-Length:\r\n", "Content-Length: 1 1\r\n",
           "Content-Length: 99999999999999999999\r\n", "Content-Length : 1\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
           "X: a\r\n b\r\n", " X: a\r\n", "X\r\n", ": a\r\n", "X: a\rb\r\n", "X: a\nY: b\r\n", "X: \x01\r\n", "X: a\x7f\r\n", "X y: a\r\n",
           "Host: b\r\n", "Inference-Header-Content-Length: 1\r\nInference-Header-Content-Length: 2\r\n",
           "Inference-Header-Content-Length: x\r\n"})
    EXPECT_EQ(status_of(line + fields + "\r\n"), 400) << fields;
  EXPECT_EQ(status_of(line + std::string("X: a\0b\r\n", 8) + "\r\n"), 400);
  for (const char* value : {"gzip", "chunked, gzip", "gzip, chunked", "xchunked", "identity", "chunked;q=1"})
    EXPECT_EQ(status_of(line + "Transfer-Encoding: " + value + "\r\n\r\n"), 501) << value;
  EXPECT_EQ(status_of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
  EXPECT_EQ(status_of(line + "Expect: 200-ok\r\n\r\n"), 417);
}

TEST(Http1Head, RefusesRequestLines) {
  for (const char* line : {"GET /", "GET / HTTP/1.1 x", "GET  / HTTP/1.1", " GET / HTTP/1.1", "GET / http/1.1", "GET / HTTP/1.12", "G@T / HTTP/1.1",
                           "GET /\t HTTP/1.1", "GET \x80 HTTP/1.1", "GET v2 HTTP/1.1", "", "GET", "/ HTTP/1.1", "GET /a\x01 HTTP/1.1"})
    EXPECT_EQ(status_of(std::string(line) + "\r\nHost: a\r\n\r\n"), 400) << line;
  EXPECT_EQ(status_of("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n\r\n"), 400);  // no Host
  EXPECT_EQ(status_of("GET / HTTP/1.1\nHost: a\n\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nHost: a\r\n\n"), 400);
}

TEST(Http1Head, FindsTheEndHoweverTheBytesArrive) {
  const std::string text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nrest";
  for (size_t step = 1; step < text.size(); ++step) {
    size_t scanned = 0, n = 0;
    for (size_t have = step; !n; have += step) n = find_http1_head(std::string_view(text).substr(0, have), &scanned);
    EXPECT_EQ(n, text.size() - 4) << step;
  }
}

std::string decode(const std::string& text, size_t step, bool* done, bool* failed, size_t* left) {
  ChunkedDecoder decoder;
  std::string out;
  size_t at = 0;
  *left = 0;
  while (at < text.size() && !decoder.done() && !decoder.failed()) {
    std::string_view in = std::string_view(text).substr(at, step);
    at += in.size();
    while (!in.empty() && !decoder.done() && !decoder.failed()) out += decoder.next(&in);
    *left = in.size() + text.size() - at;
  }
  *done = decoder.done();
  *failed = decoder.failed();
  return out;
}

TEST(Chunked, DecodesHoweverTheBytesArrive) {
  const std::string text = "4\r\nWiki\r\n5;name=value\r\npedia\r\nE\r\n in\r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nNEXT";
  for (size_t step = 1; step <= text.size(); ++step) {
    bool done, failed;
    size_t left;
    EXPECT_EQ(decode(text, step, &done, &failed, &left), "Wikipedia in\r\n\r\nchunks.");
    EXPECT_TRUE(done);
    EXPECT_EQ(left, 4u);
  }
}

TEST(Chunked, Refuses) {
  for (const std::string text : {"\r\n", "g\r\n", "-1\r\n", "+1\r\na\r\n", " 1\r\na\r\n", "1 \r\na\r\n", "0x1\r\na\r\n", "1\na\r\n", "1\r\nab\r\n",
                                 "1\r\na\n", "fffffffffffff\r\n", "0\r\nX: a\n\r\n", "1;a\nb\r\n", "0\r\n\n"}) {
    bool done, failed;
    size_t left;
    decode(text, text.size(), &done, &failed, &left);
    EXPECT_TRUE(failed) << text;
  }
  bool done, failed;
  size_t left;
  decode("1;" + std::string(300, 'a') + "\r\na\r\n", 1000, &done, &failed, &left);
  EXPECT_TRUE(failed);
  std::string trailers = "0\r\n";
  for (int i = 0; i < 3000; ++i) trailers += "X: y\r\n";
  decode(trailers + "\r\n", 1 << 20, &done, &failed, &left);
  EXPECT_TRUE(failed);
}

}  // namespace
}  // namespace verge::net
