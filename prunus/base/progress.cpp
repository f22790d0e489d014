#include "prunus/base/progress.h"

#include <atomic>
#include <csignal>
#include <cstdio>
#include <unistd.h>

#include "prunus/base/error.h"

namespace prunus {
namespace {

std::atomic<bool> quiet{false};
std::atomic<bool> interrupted{false};

// The next one of its kind ends the process at once: SA_RESETHAND.
void on_signal(int) {
  constexpr char kText[] = "\nstopping at the next step; once more to stop at once\n";
  if (!interrupted.exchange(true) && !quiet.load() && ::isatty(STDERR_FILENO)) {
    if (::write(STDERR_FILENO, kText, sizeof kText - 1) < 0) return;  // no terminal any more
  }
}

void catch_signal(int number) {
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(number, &action, nullptr);
}

bool is_ignored(int number) {
  struct sigaction action {};
  return ::sigaction(number, nullptr, &action) == 0 && action.sa_handler == SIG_IGN;
}

constexpr double kSilentSeconds = 2.0;
constexpr double kTerminalSeconds = 0.25;
constexpr double kFileSeconds = 10.0;

}  // namespace

void set_verbosity(Verbosity verbosity) { quiet.store(verbosity == Verbosity::Quiet); }

void log_info(const std::string& message) {
  if (!quiet.load()) std::fprintf(stderr, "%s\n", message.c_str());
}

void log_warning(const std::string& message) { log_info("warning: " + message); }

Progress::Progress(std::string what, int64_t total)
    : what_(std::move(what)), total_(total), start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (shown_ && ::isatty(STDERR_FILENO)) std::fputs("\r\033[K", stderr);
}

void Progress::step(int64_t count) {
  check_interrupted();
  done_ += count;
  if (quiet.load()) return;
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double interval = ::isatty(STDERR_FILENO) ? kTerminalSeconds : kFileSeconds;
  if (elapsed < kSilentSeconds || elapsed - last_shown_s_ < interval) return;
  last_shown_s_ = elapsed;
  show(elapsed);
}

void Progress::show(double elapsed_s) {
  shown_ = true;
  const double left_s =
      elapsed_s / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  const bool terminal = ::isatty(STDERR_FILENO);
  std::fprintf(stderr, "%s%s %lld/%lld%s%s, %.0f s, about %.0f s left%s",
               terminal ? "\r\033[K" : "", what_.c_str(), static_cast<long long>(done_),
               static_cast<long long>(total_), note_.empty() ? "" : ", ", note_.c_str(), elapsed_s,
               left_s, terminal ? "" : "\n");
  std::fflush(stderr);
}

void install_interrupt_handler() {
  catch_signal(SIGINT);
  catch_signal(SIGTERM);
  if (!is_ignored(SIGHUP)) catch_signal(SIGHUP);
  std::signal(SIGPIPE, SIG_IGN);
}

void check_interrupted() {
  PRUNUS_CHECK(!interrupted.load(), Interrupted, "stopped before the end");
}

}  // namespace prunus
