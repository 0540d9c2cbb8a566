// The one thread that loads and unloads, and that owns what is served. Fronts get snapshots of it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "policy/memory.h"
#include "runtime/front.h"
#include "runtime/table.h"

namespace verge::runtime {

class Loader {
 public:
  // `publish` hands a new table to every front.
  Loader(Shared& shared, std::function<void(std::shared_ptr<const Table>)> publish);
  ~Loader();  // unloads everything; no front holds a table any more

  // Any thread; return at once.
  void serve(std::shared_ptr<const ModelSource> source, std::function<void(Status)> loaded);
  void retire(std::string name, int64_t version, std::function<void()> unloaded);
  void request_load(std::shared_ptr<const ServedVersion> version, uint32_t variant);

  void settle();
  void end_start() { started_.store(true, std::memory_order_relaxed); }  // what is served from now on does not count in ready()
  bool ready() const { return unsettled_.load(std::memory_order_acquire) == 0; }
  std::shared_ptr<const Table> table() const;
  void memory(uint64_t& limit, uint64_t& base, uint64_t& reserved) const;

 private:
  struct Version {
    std::shared_ptr<const ModelSource> source;
    std::shared_ptr<const ServedVersion> served;
    ModelStats* stats = nullptr;
    Status broken;
    std::vector<VariantEntry> variants;
    int default_variant = -1;
    uint32_t leaving = 0;  // variants withdrawn whose last request has not ended
    std::vector<std::function<void()>> gone;  // to be called when none is
  };
  using Key = std::pair<std::string, int64_t>;
  // One call of serve().
  struct Publication {
    std::function<void(Status)> loaded;
    bool counted = false;  // in unsettled_
    uint32_t left = 0;     // loads to come
    Status status;         // of the default variant
  };

  void loop();
  void push(std::function<void()> job);
  void push_load(std::shared_ptr<Version> version, uint32_t variant, std::shared_ptr<Publication> publication);

  // On the loader's thread.
  void do_serve(std::shared_ptr<const ModelSource> source, std::shared_ptr<Publication> publication);
  void load_published(const std::shared_ptr<Version>& version, uint32_t variant, Publication& publication);
  void left(const Key& key);
  void take_over(const std::shared_ptr<Version>& version);
  void finish(Publication& publication);
  std::shared_ptr<Version> make_version(const std::shared_ptr<const ModelSource>& source);
  void do_retire(const Key& key, std::function<void()> unloaded);
  void do_load(const std::shared_ptr<Version>& version, uint32_t variant);
  Result<std::unique_ptr<Resident>> load(Version& version, uint32_t variant);
  Status load_network(const ModelSource& source, const VariantSpec& spec, const Signature& network, const std::string& where, LoadedNetwork& out);
  int threads_on(uint32_t lane, const ModelSource& source, const VariantProfile* profile) const;
  void warm_batches(const Signature& network, Resident& resident, uint32_t lane, const std::vector<TensorView>& sample);
  Status warm(const ServedVersion& served, Resident& resident, const VariantSpec& spec);
  Status reserve(const ModelSource& source, const VariantSpec& spec, const VariantProfile* profile, uint64_t& bytes, uint64_t& engine_bytes);
  void release(const std::shared_ptr<Version>& version, uint32_t variant, Resident* resident);
  void move_to(Version& version, uint32_t variant, policy::LifeEvent event);
  void withdraw(const std::shared_ptr<Version>& version);
  void publish();
  void log(LogLevel level, std::string_view event, Json fields) const;

  Shared& shared_;
  const std::function<void(std::shared_ptr<const Table>)> publish_;
  std::map<Key, std::shared_ptr<Version>> versions_;
  std::map<Key, std::shared_ptr<Version>> incoming_;  // to take the place of one that answers, when they are loaded
  std::deque<Key> left_;  // versions that have gone, the latest last
  std::map<std::string, bool> engines_used_;
  std::map<std::string, std::string> families_refused_;  // and why, as it was last logged

  mutable std::mutex table_mutex_;  // scrapes and new fronts against the loader; never taken by a request
  std::shared_ptr<const Table> table_;
  policy::MemoryLedger ledger_;

  std::atomic<bool> started_{false};
  std::atomic<uint64_t> unsettled_{0};  // publications of the start that have not ended
  std::mutex mutex_;
  std::condition_variable changed_, settled_;
  std::deque<std::function<void()>> jobs_;
  uint64_t pending_ = 0;  // jobs queued or running, and unloads that wait for their last request
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace verge::runtime
