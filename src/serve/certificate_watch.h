// Tells when files were replaced or rewritten, whichever way: a new file renamed into place, written over, or a link in their folder moved.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/status.h"

namespace verge::serve {

class CertificateWatch {
 public:
  // `changed` is called on a thread of the watch's own once the folders of `files` have been quiet for a moment: a certificate and its key
  // are seldom replaced in one step.
  static Result<std::unique_ptr<CertificateWatch>> start(const std::vector<std::string>& files, std::function<void()> changed);
  ~CertificateWatch();  // waits for a call in progress
  CertificateWatch(const CertificateWatch&) = delete;
  CertificateWatch& operator=(const CertificateWatch&) = delete;

 private:
  CertificateWatch() = default;
  void run();
  int inotify_ = -1;
  int stop_ = -1;
  std::function<void()> changed_;
  std::thread thread_;
};

}  // namespace verge::serve
