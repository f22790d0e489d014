#include <algorithm>
#include <cstdio>
#include <exception>
#include <iostream>
#include <new>
#include <system_error>

#include <c10/util/Exception.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/cli/parser.h"
#include "prunus/text/utf8.h"

namespace {

constexpr int kInternalError = 7;

bool is_control(unsigned char c) { return c < 0x20 || c == 0x7F; }

// One line of UTF-8, whatever names from an untrusted file the message quotes.
int report(const char* kind, std::string message, int code) {
  while (!message.empty() && message.back() == '\n') message.pop_back();
  message = prunus::text::repair_utf8(message);
  std::replace_if(message.begin(), message.end(), is_control, '?');
  std::cerr << "prunus: " << kind << ": " << message << '\n';
  return code;
}

// A result that did not reach its file is a failure like any other: `> file` on a full disk.
int flush_results() {
  std::cout.flush();
  const bool flushed = std::fflush(stdout) == 0;
  if (flushed && std::cout && std::ferror(stdout) == 0) return 0;
  return report("i/o", "stdout: cannot write the results; disk full?", 1);
}

// libtorch's own errors: an allocation that failed, or a fault of ours.
int report(const c10::Error& error) {
  const std::string message = error.what_without_backtrace();
  const bool memory = dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr ||
                      message.find("allocate memory") != message.npos;
  if (memory) return report("i/o", "out of memory: " + message, 1);
  return report("internal error", message, kInternalError);
}

}  // namespace

int main(int argc, char** argv) {
  prunus::Parser parser(true);
  prunus::install_interrupt_handler();
  try {
    parser.parse({argv + 1, argv + std::max(argc, 1)});
  } catch (const CLI::Success& asked) {
    parser.exit(asked);
  } catch (const prunus::Error& error) {
    return report(prunus::error_kind_name(error.kind()), error.what(),
                  prunus::exit_code(error.kind()));
  } catch (const c10::Error& error) {
    return report(error);
  } catch (const std::bad_alloc&) {
    return report("i/o", "out of memory", 1);
  } catch (const std::system_error& error) {
    return report("i/o", error.what(), 1);
  } catch (const std::exception& error) {
    return report("internal error", error.what(), kInternalError);
  }
  return flush_results();
}
