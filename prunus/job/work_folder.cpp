#include "prunus/job/work_folder.h"

#include <filesystem>

#include <ATen/Parallel.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"
#include "prunus/model/model_files.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIdentity = "/job.json";
constexpr const char* kLock = "/lock";

// A folder with other things in it is not one of ours: nothing in it may be removed.
void check_ours(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  PRUNUS_CHECK(fs::is_directory(path, error), InvalidArgument, path,
               ": is not a directory; choose another --work-dir, or move it away");
  PRUNUS_CHECK(
      fs::is_empty(path, error) || fs::exists(path + kLock, error), InvalidArgument, path,
      ": holds files that are not of an interrupted prunus run; choose another --work-dir, "
      "or move them away");
}

// The job goes first: without it what else is left, should the process be killed here, is no state
// to go on from. The lock stays, which says whose folder it is.
void remove_all_but_lock(const std::string& path, std::error_code& error) {
  fs::remove(path + kIdentity, error);
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename() == fs::path(kLock).filename()) continue;
    fs::remove_all(entry->path(), error);
  }
}

}  // namespace

std::string work_path(const std::string& out_dir, const std::string& work_dir) {
  std::string out = out_dir;
  while (out.size() > 1 && out.back() == '/') out.pop_back();
  if (work_dir.empty()) return out + ".work";
  return work_dir + "/" + fs::path(out).filename().string() + ".work";
}

Json model_identity(const std::string& model_dir, at::Device device) {
  Json identity = {{"prunus", PRUNUS_VERSION},
                   {"threads", at::get_num_threads()},
                   {"device", device.str()},
                   {"config_sha256", model_config_sha256(model_dir)}};
  for (const std::string& path : weight_files(model_dir)) {
    const auto changed = fs::last_write_time(path).time_since_epoch().count();
    identity["weights"][fs::path(path).filename().string()] = {fs::file_size(path), changed};
  }
  return identity;
}

WorkFolder::WorkFolder(Options options) : options_(std::move(options)) { open_or_make(); }

void WorkFolder::open_or_make() {
  const std::string& path = options_.path;
  std::error_code error;
  check_ours(path);
  lock_ = FileLock::take_in(path);
  PRUNUS_CHECK(lock_, InvalidArgument, path, ": another prunus is at work on this output (",
               FileLock::holder(path + kLock), "); wait for it, or choose another --out");
  PRUNUS_CHECK(options_.resume || options_.force || !holds_state(), InvalidArgument, path,
               ": an interrupted run left its state here; pass --resume to go on with it, or "
               "--force to throw it away");
  if (options_.resume && holds_state()) {
    check_identity();
    resumed_ = true;
    options_.resumable = true;
    log_info(c10::str("resuming from ", path));
    return;
  }
  if (options_.resume) log_info(c10::str(path, ": nothing to resume; starting from the beginning"));
  remove_all_but_lock(path, error);
  PRUNUS_CHECK(!error, Io, path, ": cannot remove what an earlier run left: ", error.message());
  if (options_.resumable) write_file(path + kIdentity, options_.identity + "\n");
}

void WorkFolder::check_identity() const {
  const std::string path = options_.path + kIdentity;
  const Json earlier = read_json(path);
  const Json now = parse_json(options_.identity, "the job");
  for (const auto& [key, value] : now.items()) {
    PRUNUS_CHECK(earlier.contains(key) && earlier.at(key) == value, InvalidArgument, path,
                 ": the interrupted run had ", key, " = ",
                 earlier.contains(key) ? earlier.at(key).dump() : "nothing", ", this one ",
                 value.dump(), "; repeat its command, or pass --force without --resume");
  }
}

WorkFolder::~WorkFolder() {
  if (!discarded_ && holds_state()) return;
  std::error_code ignored;
  remove_all_but_lock(options_.path, ignored);
  fs::remove_all(options_.path, ignored);
}

bool WorkFolder::holds_state() const {
  std::error_code error;
  if (!fs::exists(options_.path + kIdentity, error)) return false;
  fs::recursive_directory_iterator item(options_.path, error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) {
    if (options_.is_state(item->path().filename().string())) return true;
  }
  return false;
}

}  // namespace prunus
