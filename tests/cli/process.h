#pragma once
// Runs the real program as a user does, in a process of its own.
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace prunus::test_cli {

using Arguments = std::vector<std::string>;

/// How a process ended and what it said.
struct Outcome {
  int exit_code = -1;  ///< -1 where a signal ended it
  int signal = 0;      ///< 0 where it ended on its own
  std::string out;
  std::string err;
  int64_t peak_bytes = 0;  ///< largest resident set
};

/// What surrounds the process.
struct Surroundings {
  uint64_t max_file_bytes = 0;     ///< no file may grow beyond it, as on a full disk; 0: no limit
  const char* out_path = nullptr;  ///< where stdout goes instead of Outcome::out
};

/// `prunus` with arguments, running. Ends after two minutes by SIGALRM at the latest.
class Process {
 public:
  explicit Process(const Arguments& arguments, const Surroundings& around = {})
      : out_(std::tmpfile()), err_(std::tmpfile()) {
    std::vector<char*> argv{const_cast<char*>(PRUNUS_BINARY)};
    for (const std::string& one : arguments) argv.push_back(const_cast<char*>(one.c_str()));
    argv.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) become(argv.data(), around);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    std::fclose(out_);
    std::fclose(err_);
  }

  void send(int signal) const { ::kill(pid_, signal); }

  /// Waits for the end. Call once.
  Outcome wait() {
    int status = 0;
    rusage usage{};
    while (::wait4(pid_, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    Outcome outcome;
    if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
    outcome.peak_bytes = int64_t{usage.ru_maxrss} * 1024;
    outcome.out = content(out_);
    outcome.err = content(err_);
    return outcome;
  }

 private:
  // In the child: only async-signal-safe calls from here to exec.
  [[noreturn]] void become(char** argv, const Surroundings& around) const {
    constexpr unsigned kMaxSeconds = 120;
    const int out = around.out_path == nullptr ? ::fileno(out_) : ::open(around.out_path, O_WRONLY);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(::fileno(err_), STDERR_FILENO);
    if (around.max_file_bytes > 0) {
      const rlimit limit{around.max_file_bytes, around.max_file_bytes};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      ::signal(SIGXFSZ, SIG_IGN);
    }
    ::alarm(kMaxSeconds);
    ::execv(argv[0], argv);
    ::_exit(127);
  }

  static std::string content(std::FILE* file) {
    std::string text;
    char buffer[4096];
    ::lseek(::fileno(file), 0, SEEK_SET);
    for (ssize_t got; (got = ::read(::fileno(file), buffer, sizeof buffer)) > 0;) {
      text.append(buffer, static_cast<size_t>(got));
    }
    return text;
  }

  std::FILE* out_;
  std::FILE* err_;
  pid_t pid_ = -1;
};

inline Outcome prunus(const Arguments& arguments, const Surroundings& around = {}) {
  return Process(arguments, around).wait();
}

}  // namespace prunus::test_cli
