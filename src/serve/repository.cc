#include "serve/repository.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "os/files.h"
#include "os/process.h"

namespace verge::serve {
namespace {

constexpr uint64_t kMaxServingBytes = 4096;

// What tells one content of a folder from another without reading it.
std::string stamp_of(const Found& found) {
  const auto one = [](const std::string& path) {
    struct stat s {};
    if (::stat(path.c_str(), &s) != 0) return std::string("-");
    return std::to_string(s.st_dev) + ":" + std::to_string(s.st_ino) + ":" + std::to_string(s.st_size) + ":" + std::to_string(s.st_mtim.tv_sec) + "." +
           std::to_string(s.st_mtim.tv_nsec);
  };
  if (found.package_dir.empty()) return one(found.model_path);
  // The folder's own time changes with reports that are written into it.
  struct stat dir {};
  const bool is = ::stat(found.package_dir.c_str(), &dir) == 0;
  return (is ? std::to_string(dir.st_ino) : std::string("-")) + " " + one(os::join(found.package_dir, "manifest.json")) + " " + one(os::join(found.package_dir, "profiles"));
}

std::string label(const std::string& name, int64_t version) { return name + " version " + std::to_string(version); }

bool is_number(const std::string& name) { return !name.empty() && name.size() <= 18 && name.find_first_not_of("0123456789") == std::string::npos; }

}  // namespace

// Functions for the repository's thread; closed when it has ended. What is dropped with a function tells whoever waits.
struct Repository::Inbox {
  Inbox() : fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Inbox() { ::close(fd); }
  void post(std::function<void()> fn) {
    {
      std::lock_guard lock(mutex);
      if (closed) return;
      jobs.push_back(std::move(fn));
    }
    wake();
  }
  void wake() const {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(fd, &one, sizeof one);
  }
  std::deque<std::function<void()>> take() {
    uint64_t count;
    [[maybe_unused]] const ssize_t n = ::read(fd, &count, sizeof count);
    std::lock_guard lock(mutex);
    return std::exchange(jobs, {});
  }
  void close() {
    std::deque<std::function<void()>> dropped;
    {
      std::lock_guard lock(mutex);
      closed = true;
      dropped.swap(jobs);
    }
    wake();
  }
  bool ended() {
    std::lock_guard lock(mutex);
    return closed;
  }
  const int fd;
  std::mutex mutex;
  bool closed = false;
  std::deque<std::function<void()>> jobs;
};

Repository::Repository(Environment& env, runtime::ServerRuntime& runtime, Place place, Options options)
    : env_(env), runtime_(runtime), place_(std::move(place)), options_(std::move(options)), inbox_(std::make_shared<Inbox>()) {}

Repository::~Repository() {
  stop();
  join();
}

void Repository::join() {
  if (thread_.joinable()) thread_.join();
}

void Repository::start(std::function<void()> complete) {
  if (place_.kind == Place::Kind::kZoo || place_.kind == Place::Kind::kModel) {
    auto watcher = Watcher::create(options_.most_watches);
    if (watcher.ok()) {
      watcher_ = std::move(watcher).value();
      watch(place_.dir);
    } else {
      env_.log->warning("zoo_not_watched", {{"zoo", place_.dir}, {"reason", watcher.status().message()}, {"hint", "`verge reload` makes the server look"}});
    }
  }
  auto op = std::make_shared<Operation>();
  op->done = [complete = std::move(complete)](Operation&) { complete(); };
  post([this, op = std::move(op)] { look_at_all(op, false); });
  thread_ = std::thread([this] { loop(); });
}

void Repository::stop() { inbox_->close(); }

void Repository::post(std::function<void()> fn) { inbox_->post(std::move(fn)); }

void Repository::loop() {
  pthread_setname_np(pthread_self(), "repository");
  while (!inbox_->ended()) {
    for (auto& job : inbox_->take()) {
      job();
      publish_view();
      ended_.clear();
      job = nullptr;
    }
    pollfd fds[2] = {{inbox_->fd, POLLIN, 0}, {watcher_ ? watcher_->fd() : -1, POLLIN, 0}};
    int timeout = -1;
    if (const uint64_t next = next_timer_ns(); next != UINT64_MAX) {
      const uint64_t now = os::monotonic_ns();
      timeout = next <= now ? 0 : static_cast<int>((next - now) / 1'000'000 + 1);
    }
    const int ready = ::poll(fds, 2, to_measure_.empty() ? timeout : 0);
    if (ready > 0 && fds[1].revents != 0) handle_changes();
    retire_gone();
    // Measuring takes seconds: whatever else there is to do goes before it.
    if (ready == 0 && !to_measure_.empty()) measure_next();
    publish_view();
    ended_.clear();
  }
  models_.clear();
}

// --- what changes ---

void Repository::watch(const std::string& dir) {
  if (!watcher_) return;
  Status s = watcher_->watch(dir);
  if (s.ok() || !os::is_dir(dir) || watch_refused_) return;
  watch_refused_ = true;
  env_.log->warning("zoo_not_watched", {{"zoo", place_.dir}, {"reason", s.message()}, {"hint", "what changes in the folders that are not watched, `verge reload` makes the server see"}});
}

void Repository::handle_changes() {
  const Watcher::Changes changes = watcher_->read();
  if (changes.lost) {
    env_.log->warning("changes_lost", {{"zoo", place_.dir}, {"reason", "more changed at once than the kernel remembers; looking at everything"}});
    return look_at_all(nullptr, false);
  }
  if (place_.kind == Place::Kind::kZoo && changes.dirs.contains(place_.dir)) return look_at_all(nullptr, false);
  std::map<std::string, bool> models;  // whether something within one of its versions changed
  for (const std::string& dir : changes.dirs) {
    const bool version = is_number(os::base_name(dir)) && dir != place_.dir && os::dir_name(dir) != (place_.kind == Place::Kind::kZoo ? place_.dir : "");
    models[os::base_name(version ? os::dir_name(dir) : dir)] |= version;
  }
  for (const auto& [name, within] : models) look(name, nullptr, within);
}

uint64_t Repository::next_timer_ns() const {
  uint64_t next = UINT64_MAX;
  for (const auto& [name, m] : models_) {
    if (m.gone_ns != 0) next = std::min(next, m.gone_ns);
  }
  return next;
}

void Repository::retire_gone() {
  if (next_timer_ns() == UINT64_MAX) return;
  std::vector<std::string> due;
  for (const auto& [name, m] : models_) {
    if (m.gone_ns != 0 && m.gone_ns <= os::monotonic_ns()) due.push_back(name);
  }
  for (const std::string& name : due) look(name, nullptr, false);
}

void Repository::look_at_all(const OperationPtr& op, bool force) {
  std::set<std::string> names;
  if (place_.kind == Place::Kind::kZoo) {
    watch(place_.dir);
    auto entries = os::list_dir(place_.dir);
    if (!entries.ok()) {
      // A file system that is not mounted is no wish to serve nothing.
      env_.log->error("zoo_unreadable", {{"zoo", place_.dir}, {"reason", entries.status().message()}});
      if (op) op->refused.push_back(entries.status().message());
      return;
    }
    for (const std::string& name : *entries) {
      if (valid_name(name) && os::is_dir(os::join(place_.dir, name))) names.insert(name);
    }
  } else if (place_.kind == Place::Kind::kModel) {
    names.insert(os::base_name(place_.dir));
  } else {
    Found f = find_single(place_);
    if (f.named_by_manifest) {
      if (auto p = package::open_package(f.package_dir); p.ok()) f.name = p->manifest.name;
    }
    names.insert(f.name);
  }
  for (const auto& [name, m] : models_) names.insert(name);
  for (const std::string& name : names) look(name, op, force);
}

Result<std::vector<Found>> Repository::find(const std::string& name) {
  if (place_.kind == Place::Kind::kPackage || place_.kind == Place::Kind::kBare) {
    Found f = find_single(place_);
    if (f.named_by_manifest) {
      if (auto p = package::open_package(f.package_dir); p.ok()) {
        f.name = p->manifest.name;
        f.version = p->manifest.version;
        f.named_by_manifest = false;
      }
    }
    if (f.name != name) return std::vector<Found>();
    return std::vector<Found>{f};
  }
  if (!os::is_dir(place_.dir)) return unavailable(place_.dir + ": the folder is gone; what is served stays until it is back");
  const std::string dir = place_.kind == Place::Kind::kZoo ? os::join(place_.dir, name) : place_.dir;
  if (!os::is_dir(dir)) return std::vector<Found>();
  watch(dir);
  // A folder that is being copied becomes a version when its manifest is there.
  VERGE_ASSIGN(const std::vector<std::string> entries, os::list_dir(dir));
  for (const std::string& entry : entries) {
    const std::string version = os::join(dir, entry);
    if (is_number(entry) && os::is_dir(version) && !os::exists(os::join(version, "manifest.json"))) watch(version);
  }
  return find_versions(dir);
}

void Repository::look(const std::string& name, const OperationPtr& op, bool force) {
  Model& m = models_[name];
  if (op) m.operations.push_back(op);
  if (m.loading > 0) {
    m.again = true;
    m.force |= force;
    return;
  }
  auto found = find(name);
  if (!found.ok()) {
    env_.log->error("model_unreadable", {{"model", name}, {"reason", found.status().message()}});
    for (const OperationPtr& o : std::exchange(m.operations, {})) {
      o->refused.push_back(found.status().message());
      o->status = found.status();
    }
    return;
  }
  m.forced = force;
  for (auto& [number, v] : m.versions) v.present = v.tried = false;
  std::vector<int64_t> present;
  for (Found& f : *found) {
    const int64_t number = f.version;
    Version& v = m.versions[number];
    v.found = std::move(f);
    v.present = true;
    present.push_back(number);
  }
  const bool served = std::any_of(m.versions.begin(), m.versions.end(), [](const auto& v) { return v.second.served; });
  if (present.empty() && served && !force && !m.unloaded) {
    const uint64_t now = os::monotonic_ns();
    if (m.gone_ns == 0) m.gone_ns = now + options_.removal_grace_ns;
    if (now < m.gone_ns) return;
  }
  m.gone_ns = 0;
  read_pin(name, m, present);
  m.selection = select_versions(policy(name), present, m.pinned);
  if (!m.unloaded) {
    for (const int64_t number : m.selection.wanted) open(name, m, number, force);
  }
  settle(name);
}

void Repository::read_pin(const std::string& name, Model& m, const std::vector<int64_t>& present) {
  if (place_.kind != Place::Kind::kZoo && place_.kind != Place::Kind::kModel) return;
  const std::string path = os::join(place_.kind == Place::Kind::kZoo ? os::join(place_.dir, name) : place_.dir, kServingFile);
  int64_t pinned = 0;
  Status wrong;
  if (os::exists(path)) {
    auto text = os::read_file(path, kMaxServingBytes);
    auto version = text.ok() ? parse_serving(*text) : Result<int64_t>(text.status());
    if (!version.ok()) {
      wrong = version.status().prefixed(path);
    } else if (!std::binary_search(present.begin(), present.end(), *version)) {
      wrong = not_found(path + ": it names version " + std::to_string(*version) + ", which is not there");
    } else {
      pinned = *version;
    }
  }
  if (!wrong.ok()) {
    env_.log->error("rollback_refused", {{"model", name}, {"reason", wrong.message()}});
    for (const OperationPtr& op : m.operations) op->refused.push_back(wrong.message());
    if (m.pinned != 0 && !std::binary_search(present.begin(), present.end(), m.pinned)) m.pinned = 0;
    return;
  }
  if (pinned == m.pinned) return;
  m.pinned = pinned;
  env_.log->info(pinned != 0 ? "rolled_back" : "rollback_ended", {{"model", name}, {"version", pinned}});
}

const VersionPolicy& Repository::policy(const std::string& name) const {
  const auto it = env_.config.models.find(name);
  return it != env_.config.models.end() && it->second.versions ? *it->second.versions : env_.config.versions;
}

// --- opening and loading ---

void Repository::open(const std::string& name, Model& m, int64_t number, bool force) {
  Version& v = m.versions[number];
  const std::string stamp = stamp_of(v.found);
  if (v.served && stamp == v.stamp && v.max_batch == m.max_batch && !(force && (!v.refusal.ok() || !answering(name).contains(number)))) return;
  v.stamp = stamp;
  auto source = open_source(env_, v.found, false);
  if (source != nullptr) return give(name, m, number, std::move(source));
  v.loading = true;
  ++m.loading;
  to_measure_.emplace_back(name, number);
}

void Repository::measure_next() {
  const auto [name, number] = to_measure_.front();
  to_measure_.pop_front();
  Model& m = models_[name];
  Version& v = m.versions[number];
  auto source = open_source(env_, v.found, true);
  if (os::interrupted()) return;
  v.loading = false;
  --m.loading;
  give(name, m, number, std::move(source));
  settle(name);
}

void Repository::give(const std::string& name, Model& m, int64_t number, std::shared_ptr<runtime::ModelSource> source) {
  Version& v = m.versions[number];
  source->name = name;
  source->version = number;
  v.loading = v.served = true;
  v.set_aside = false;
  ++m.loading;
  override_settings(m, v, source);
  const std::string variant = source->default_variant;
  if (v.variant.empty()) v.variant = variant;
  runtime_.serve(std::move(source), [this, inbox = inbox_, name, number, variant](Status s) {
    inbox->post([this, name, number, variant, s = std::move(s)] { loaded(name, number, variant, s); });
  });
}

void Repository::loaded(const std::string& name, int64_t number, const std::string& variant, Status status) {
  Model& m = models_[name];
  Version& v = m.versions[number];
  v.loading = false;
  --m.loading;
  v.refusal = status;
  if (status.ok()) {
    v.variant = variant;
    if (watcher_ && !v.found.package_dir.empty()) watcher_->forget(v.found.package_dir);
    changed(m, label(name, number) + ": answers, with variant " + variant);
  } else {
    // Whatever is put right within its folder is a reason to try again.
    if (!v.found.package_dir.empty()) watch(v.found.package_dir);
    refused(name, m, number, status);
  }
  settle(name);
}

void Repository::refused(const std::string& name, Model& m, int64_t number, const Status& status) {
  env_.log->error("version_refused", {{"model", name}, {"version", number}, {"reason", status.message()}});
  for (const OperationPtr& op : m.operations) op->refused.push_back(label(name, number) + ": " + status.message());
}

void Repository::changed(const Model& m, const std::string& text) {
  for (const OperationPtr& op : m.operations) op->changed.push_back(text);
}

std::set<int64_t> Repository::answering(const std::string& name) const {
  std::set<int64_t> up;
  const auto m = models_.find(name);
  if (m == models_.end()) return up;
  for (const runtime::VariantReport& r : runtime_.variants()) {
    if (r.model != name || r.state != "resident") continue;
    const auto v = m->second.versions.find(r.version);
    if (v != m->second.versions.end() && v->second.served && v->second.variant == r.variant) up.insert(r.version);
  }
  return up;
}

// Nothing of the model is being loaded: what may go goes, what waited is told.
void Repository::settle(const std::string& name) {
  Model& m = models_[name];
  if (m.loading > 0) return;
  if (m.again) {
    m.again = false;
    return look(name, nullptr, std::exchange(m.force, false));
  }
  const auto wanted = [&](int64_t number) { return std::find(m.selection.wanted.begin(), m.selection.wanted.end(), number) != m.selection.wanted.end(); };
  const std::set<int64_t> answer = answering(name);
  const bool wanted_up = std::any_of(m.selection.wanted.begin(), m.selection.wanted.end(), [&](int64_t v) { return answer.contains(v); });
  bool kept_up = false;  // another one that answers, in their place
  if (!m.unloaded && !wanted_up) {
    for (const int64_t number : m.selection.fallback) {
      if ((kept_up = answer.contains(number))) break;
      Version& v = m.versions[number];
      if (v.tried) continue;
      v.tried = true;
      if (!v.refusal.ok() && !m.forced && v.stamp == stamp_of(v.found)) continue;
      open(name, m, number, true);
      if (m.loading > 0) return;
    }
  }
  Status status;
  std::vector<int64_t> go;
  for (auto& [number, v] : m.versions) {
    const bool up = answer.contains(number);
    if (v.present && wanted(number) && !v.refusal.ok() && status.ok()) status = v.refusal.prefixed(label(name, number));
    if (!v.served) continue;
    const bool keeps = !m.unloaded && (wanted(number) || (!wanted_up && v.present && up));
    if (!keeps) {
      go.push_back(number);
    } else if (!up && !v.set_aside && (wanted_up || kept_up)) {
      set_aside(name, v);
    }
  }
  if (!m.unloaded && m.selection.wanted.empty()) {
    status = not_found("failed to load '" + name + "', failed to poll from model repository: there is no version of it to serve in " + place_.dir);
  }
  for (const int64_t number : go) retire(name, m, number);
  for (const OperationPtr& op : std::exchange(m.operations, {})) {
    op->status = op->until_unloaded ? Status() : status;
    ended_.push_back(op);
  }
  std::erase_if(m.versions, [](const auto& v) { return !v.second.present && !v.second.served && !v.second.leaving; });
  if (m.versions.empty() && m.gone_ns == 0) models_.erase(name);
}

// Another one answers: this one is not to be loaded for each request that names it, and says why it cannot be.
void Repository::set_aside(const std::string& name, Version& v) {
  v.set_aside = true;
  auto source = std::make_shared<runtime::ModelSource>();
  source->name = name;
  source->version = v.found.version;
  source->broken = v.refusal.ok() ? unavailable("its default variant is not loaded") : v.refusal;
  runtime_.serve(std::move(source));
}

void Repository::retire(const std::string& name, Model& m, int64_t number) {
  Version& v = m.versions[number];
  v.served = v.set_aside = false;
  v.leaving = true;
  if (watcher_ && !v.found.package_dir.empty()) watcher_->forget(v.found.package_dir);
  changed(m, label(name, number) + ": withdrawn");
  std::vector<OperationPtr> waiting;
  for (const OperationPtr& op : m.operations) {
    if (op->until_unloaded) waiting.push_back(op);
  }
  runtime_.retire(name, number, [this, inbox = inbox_, name, number, waiting = std::move(waiting)] {
    inbox->post([this, name, number, waiting] { left(name, number); });
  });
}

void Repository::left(const std::string& name, int64_t number) {
  const auto m = models_.find(name);
  if (m == models_.end()) return;
  auto& versions = m->second.versions;
  const auto v = versions.find(number);
  if (v == versions.end()) return;
  v->second.leaving = false;
  if (v->second.present || v->second.served) return;
  versions.erase(v);
  if (versions.empty() && m->second.loading == 0 && m->second.operations.empty()) models_.erase(m);
}

}  // namespace verge::serve
