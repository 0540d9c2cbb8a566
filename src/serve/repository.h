// What a server serves of its zoo, kept up to date: versions that are published, replaced, rolled back and removed while it runs.
//
// One thread does all of it, so that opening and measuring packages delays nobody. It is told by the kernel what changes (see watcher.h) and
// by callers what they want; the runtime tells it when a version is loaded or has gone. A version takes the place of another when it answers:
// until then, and where it is refused, what was served stays.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/runtime.h"
#include "serve/sources.h"
#include "serve/versions.h"
#include "serve/watcher.h"

namespace verge::serve {

class Repository final : public runtime::Repository {
 public:
  struct Options {
    std::function<Result<Config>()> read_config;  // for reload(); empty: the configuration stays
    std::function<Status()> reload_tls;           // the same for certificates
    std::function<void(const Config&)> apply;     // of a new configuration, what is not about models
    // The last version of a model goes this long after its folder, so that another may be put in its place.
    uint64_t removal_grace_ns = 1'000'000'000;
    size_t most_watches = 8192;
  };
  // `env` and `runtime` outlive it; it replaces the parts of env.config that are about models.
  Repository(Environment& env, runtime::ServerRuntime& runtime, Place place, Options options);
  ~Repository() override;

  // Serves what lies there; `complete` is called when all of it is loaded or refused, on any thread, or never where stop() comes first.
  void start(std::function<void()> complete);
  // Whoever waits for something is told that the server stops, and so is everyone who comes later. Any thread; does not wait.
  void stop();
  // Waits for the end of its thread, after stop(); the runtime may end then.
  void join();

  // What is served, for the line that says so: [{"name", "version", "variant" or "reason"}].
  Json served() const;
  // Why the version that is served by that name cannot be; ok if there is none such or it can.
  Status refusal(const std::string& name) const;

  std::vector<Entry> index(bool ready_only) const override;
  void load(std::string name, Overrides overrides, Done done) override;
  void unload(std::string name, Done done) override;
  void reload(Reported done) override;

 private:
  // What one call or the start waits for. Ends when nobody holds it any more.
  struct Operation {
    std::vector<std::string> changed, refused;
    Status status;  // of the model that was asked for
    bool until_unloaded = false;
    std::function<void(Operation&)> done;
    ~Operation() {
      if (done) done(*this);
    }
  };
  using OperationPtr = std::shared_ptr<Operation>;
  struct Version {
    Found found;
    std::string stamp;  // of what lay there when it was opened
    bool present = false;
    bool served = false;  // the runtime has it
    bool loading = false;
    bool leaving = false;
    bool tried = false;     // as a fallback, since the folder was looked at
    bool set_aside = false;  // the runtime has it as one that is broken
    std::string variant;    // the default one
    int64_t max_batch = 0;   // what it was given to the runtime with
    int64_t most_batch = -1;  // of its own; -1: it has not been opened
    Status refusal;
  };
  struct Model {
    std::map<int64_t, Version> versions;
    Selection selection;
    int64_t pinned = 0;
    int64_t max_batch = 0;              // what it was loaded with; 0: nothing
    bool unloaded = false;
    bool forced = false;                // what was refused is tried again
    bool again = false, force = false;  // look once more when it has settled
    uint32_t loading = 0;
    uint64_t gone_ns = 0;  // when what is left of it goes; 0: its folder has versions
    std::vector<OperationPtr> operations;
  };
  // What other threads see of a version.
  struct View {
    std::string name;
    int64_t version = 0;
    bool served = false, loading = false, leaving = false;
    std::string variant;
    Status refusal;
  };
  struct Inbox;

  void post(std::function<void()> fn);
  void loop();
  void handle_changes();
  void retire_gone();
  void measure_next();
  uint64_t next_timer_ns() const;
  void publish_view();

  void look_at_all(const OperationPtr& op, bool force);
  void look(const std::string& name, const OperationPtr& op, bool force);
  Result<std::vector<Found>> find(const std::string& name);
  static void override_settings(Model& m, Version& v, std::shared_ptr<runtime::ModelSource>& source);
  Status check_overrides(const std::string& name, const Overrides& overrides);
  void read_pin(const std::string& name, Model& m, const std::vector<int64_t>& present);
  void open(const std::string& name, Model& m, int64_t number, bool force);
  void give(const std::string& name, Model& m, int64_t number, std::shared_ptr<runtime::ModelSource> source);
  void loaded(const std::string& name, int64_t number, const std::string& variant, Status status);
  void settle(const std::string& name);
  void retire(const std::string& name, Model& m, int64_t number);
  void left(const std::string& name, int64_t number);
  void set_aside(const std::string& name, Version& v);
  std::set<int64_t> answering(const std::string& name) const;
  void apply_config(Operation& op);
  Status take_bounds(const Config& read);
  void refused(const std::string& name, Model& m, int64_t number, const Status& status);
  void changed(const Model& m, const std::string& text);
  void watch(const std::string& dir);
  const VersionPolicy& policy(const std::string& name) const;

  Environment& env_;
  runtime::ServerRuntime& runtime_;
  const Place place_;
  const Options options_;
  std::unique_ptr<Watcher> watcher_;
  bool watch_refused_ = false;
  std::map<std::string, Model> models_;
  std::deque<std::pair<std::string, int64_t>> to_measure_;
  std::vector<OperationPtr> ended_;  // to be told when others can see what came of it
  mutable std::mutex view_mutex_;
  std::vector<View> view_;
  std::shared_ptr<Inbox> inbox_;  // callbacks of the runtime hold it too
  std::thread thread_;
};

}  // namespace verge::serve
