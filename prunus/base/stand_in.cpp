#include "prunus/base/stand_in.h"

#include <algorithm>
#include <cctype>

#include "prunus/base/error.h"

namespace prunus {
namespace {

constexpr std::string_view kLfsPointer = "version https://git-lfs.github.com/spec/";

// Compared without case; `begin` in lower case.
bool begins_with(std::string_view text, std::string_view begin) {
  if (text.size() < begin.size()) return false;
  return std::equal(begin.begin(), begin.end(), text.begin(), [](char wanted, char got) {
    return wanted == static_cast<char>(std::tolower(static_cast<unsigned char>(got)));
  });
}

}  // namespace

void check_no_stand_in(std::string_view content, const std::string& where) {
  PRUNUS_CHECK(
      !content.starts_with(kLfsPointer), Corrupt, where,
      ": is a Git LFS pointer, not the file itself; the repository was cloned without "
      "git-lfs. Fetch the files with `git lfs install && git lfs pull`, run in its folder");
  const auto first = content.find_first_not_of(" \t\r\n\xEF\xBB\xBF");
  if (first == std::string_view::npos) return;
  const std::string_view text = content.substr(first);
  const bool page = begins_with(text, "<!doctype html") || begins_with(text, "<html");
  PRUNUS_CHECK(!page, Corrupt, where,
               ": is a web page, not the file itself; the server answered the download with it (a "
               "login, a licence to accept, an error?). Open it in a browser, then download again");
}

}  // namespace prunus
