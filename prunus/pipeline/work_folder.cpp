#include "prunus/pipeline/work_folder.h"

#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/progress.h"

namespace prunus {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIdentity = "/job.json";
constexpr const char* kLock = "/lock";

}  // namespace

WorkFolder::Lock::~Lock() {
  if (file >= 0) ::close(file);
}

WorkFolder::WorkFolder(Options options) : options_(std::move(options)) { open_or_make(); }

void WorkFolder::open_or_make() {
  const std::string& path = options_.path;
  std::error_code error;
  fs::create_directories(path, error);
  PRUNUS_CHECK(!error, Io, path, ": cannot create directory: ", error.message());
  lock_.file = ::open((path + kLock).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  PRUNUS_CHECK(lock_.file >= 0, Io, path, kLock, ": cannot create");
  PRUNUS_CHECK(::flock(lock_.file, LOCK_EX | LOCK_NB) == 0, InvalidArgument, path,
               ": another prunus is at work on this output; wait for it, or choose another --out");
  if (holds_state() && !options_.resume) {
    PRUNUS_CHECK(options_.force, InvalidArgument, path,
                 ": an interrupted run left its state here; pass --resume to go on with it, or "
                 "--force to throw it away");
    for (const auto& entry : fs::directory_iterator(path)) {
      if (entry.path().filename() != fs::path(kLock).filename()) fs::remove_all(entry.path());
    }
  }
  if (holds_state()) {
    check_identity();
    resumed_ = true;
    log_info(c10::str("resuming from ", path));
    return;
  }
  if (options_.resume) log_info(c10::str(path, ": nothing to resume; starting from the beginning"));
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
  std::error_code ignored;
  if (discarded_ || !holds_state()) fs::remove_all(options_.path, ignored);
}

bool WorkFolder::holds_state() const {
  std::error_code error;
  if (!fs::exists(options_.path + kIdentity, error)) return false;
  for (const auto& entry : fs::recursive_directory_iterator(options_.path, error)) {
    const std::string name = entry.path().filename().string();
    const bool block = (name.starts_with("hidden-") && name != "hidden-0.tensors") ||
                       name.starts_with("gradient-");
    if (name.ends_with(".json") ? name.starts_with("step-") : block) return true;
  }
  return false;
}

std::string WorkFolder::step_path(int64_t step) const {
  return c10::str(options_.path, "/step-", step);
}

PlanContext WorkFolder::context(std::function<std::vector<TokenBatch>(int64_t)> calibration) {
  PlanContext context;
  context.calibration = std::move(calibration);
  context.store = [this](int64_t step) {
    return std::make_unique<StreamStore>(StreamStore::Options{
        .dir = step_path(step), .ram_bytes = options_.ram_bytes, .resumable = options_.resumable});
  };
  if (!options_.resumable) return context;
  context.finished = [this](int64_t step) -> std::optional<PlanResult> {
    const std::string path = step_path(step) + ".json";
    if (!fs::exists(path)) return std::nullopt;
    const Json saved = read_json(path);
    try {
      return PlanResult{plan_from_json(saved.at("plan"), path),
                        saved.at("calibration_loss").get<double>(),
                        saved.at("ratio").get<double>()};
    } catch (const nlohmann::json::exception& json_error) {
      PRUNUS_FAIL(Corrupt, path, ": not a finished step: ", json_error.what());
    }
  };
  context.finish = [this](int64_t step, const PlanResult& result) {
    write_file(step_path(step) + ".json", Json{{"plan", to_json(result.plan)},
                                               {"calibration_loss", result.calibration_loss},
                                               {"ratio", result.ratio}}
                                                  .dump() +
                                              "\n");
    std::error_code ignored;
    fs::remove_all(step_path(step), ignored);
  };
  return context;
}

}  // namespace prunus
