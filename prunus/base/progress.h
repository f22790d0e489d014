#pragma once
#include <chrono>
#include <cstdint>
#include <string>

namespace prunus {

/// How much goes to stderr. Set once by the command line; tests run quiet.
enum class Verbosity { Quiet, Normal };
void set_verbosity(Verbosity verbosity);

/// One line of plain text to stderr, prefixed with nothing. Silent when quiet.
void log_info(const std::string& message);
/// As log_info with "warning: " in front.
void log_warning(const std::string& message);

/// Steps done, elapsed and remaining time on stderr: a line that redraws itself on a terminal, a
/// line every ten seconds elsewhere. Nothing is shown for work under two seconds.
/// step() throws Interrupted after Ctrl-C.
class Progress {
 public:
  Progress(std::string what, int64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// `count` more steps are done.
  void step(int64_t count = 1);
  /// A few words shown with the steps, such as the loss.
  void note(std::string text) { note_ = std::move(text); }

 private:
  void show(double elapsed_s);
  std::string what_;
  std::string note_;
  int64_t total_;
  int64_t done_ = 0;
  bool shown_ = false;
  std::chrono::steady_clock::time_point start_;
  double last_shown_s_ = 0;
};

/// Makes Ctrl-C, SIGTERM and SIGHUP (unless nohup ignores it) set a flag instead of ending the
/// process; check_interrupted() throws Interrupted once it is set. A second one of the same kind
/// ends the process at once. A closed pipe is a write error and no signal. Installed by the command
/// line only.
void install_interrupt_handler();
void check_interrupted();

/// Wall-clock seconds since construction.
class Timer {
 public:
  Timer() : start_(std::chrono::steady_clock::now()) {}
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

}  // namespace prunus
