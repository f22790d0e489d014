#include "prunus/io/model_place.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/io/quote.h"

namespace prunus {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kFolderStart = "models--";
constexpr size_t kMostHubName = 96;       // the Hub's own limit
constexpr uint64_t kMostRefBytes = 4096;  // a reference holds a commit

bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

// Source: the rules of huggingface_hub's validate_repo_id.
bool is_hub_part(std::string_view part) {
  const auto fits = [](char c) { return is_word(c) || c == '-' || c == '.'; };
  const auto end = [](char c) { return c == '-' || c == '.'; };
  return !part.empty() && std::all_of(part.begin(), part.end(), fits) && !end(part.front()) &&
         !end(part.back()) && part.find("--") == part.npos && part.find("..") == part.npos;
}

bool is_hub_name(std::string_view name) {
  if (name.size() > kMostHubName) return false;
  const size_t slash = name.find('/');
  if (slash == name.npos) return is_hub_part(name);
  return is_hub_part(name.substr(0, slash)) && is_hub_part(name.substr(slash + 1));
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// A path below refs/ that stays there.
bool is_revision(std::string_view text) {
  const auto fits = [](unsigned char c) { return c > 0x20 && c != 0x7F && c != '\\'; };
  return !text.empty() && text.size() <= 255 && std::all_of(text.begin(), text.end(), fits) &&
         text.front() != '/' && text.find("..") == text.npos;
}

std::string folder_of(std::string_view hub_name) {
  std::string folder(kFolderStart);
  for (const char c : hub_name) folder += c == '/' ? std::string("--") : std::string(1, c);
  return folder;
}

// "org/name" of "models--org--name"; empty of another name.
std::string hub_name_of(const std::string& folder) {
  if (!folder.starts_with(kFolderStart)) return {};
  std::string name = folder.substr(kFolderStart.size());
  if (const size_t dashes = name.find("--"); dashes != name.npos) name.replace(dashes, 2, "/");
  return is_hub_name(name) ? name : std::string();
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

// "~/x" and "$NAME/x", "${NAME}/x"; a variable that is not set stays as it is written.
std::string expanded(std::string path) {
  if (path == "~" || path.starts_with("~/")) path.replace(0, 1, variable("HOME"));
  for (size_t at = 0; (at = path.find('$', at)) != path.npos;) {
    const bool braces = at + 1 < path.size() && path[at + 1] == '{';
    const size_t begin = at + (braces ? 2 : 1);
    size_t end = begin;
    while (end < path.size() && is_word(path[end])) ++end;
    const std::string name = path.substr(begin, end - begin);
    const bool closed = !braces || (end < path.size() && path[end] == '}');
    const char* value = name.empty() || !closed ? nullptr : std::getenv(name.c_str());
    if (value == nullptr) {
      at = end;
      continue;
    }
    path.replace(at, end + (braces ? 1 : 0) - at, value);
    at += std::string_view(value).size();
  }
  return path;
}

// The commit that a branch or tag stands for; the revision itself where the cache has no such
// reference.
std::string commit_of(const fs::path& folder, const std::string& revision) {
  const fs::path file = folder / "refs" / revision;
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return revision;
  const std::string text = read_file(file.string(), kMostRefBytes);
  const std::string_view commit =
      std::string_view(text).substr(0, text.find_last_not_of(" \n") + 1);
  PRUNUS_CHECK(is_commit(commit), Corrupt, file.string(), ": holds ", quote(text),
               ", expected a commit of 40 hexadecimal digits");
  return std::string(commit);
}

// "main, v1.0": what there is in its place.
std::string references(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator item(folder / "refs", error);
  for (; !error && item != fs::recursive_directory_iterator(); item.increment(error)) {
    std::error_code ignored;
    if (!item->is_regular_file(ignored)) continue;
    names.push_back(item->path().lexically_relative(folder / "refs").string());
  }
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "nothing" : text;
}

struct HubRequest {
  std::string name, revision;  ///< no revision: empty
};

HubRequest split(const std::string& asked) {
  const size_t at = asked.find('@');
  if (at == asked.npos) return {asked, {}};
  return {asked.substr(0, at), asked.substr(at + 1)};
}

// The snapshot in a model's folder of the cache; an empty path where it has none of this revision.
ModelPlace snapshot_in(const fs::path& folder, const HubRequest& request,
                       const std::string& asked) {
  const std::string revision = request.revision.empty() ? "main" : request.revision;
  ModelPlace place{.asked = asked, .path = {}, .hub_name = request.name};
  place.commit = commit_of(folder, revision);
  const fs::path snapshot = folder / "snapshots" / place.commit;
  if (is_commit(place.commit) && is_folder(snapshot)) place.path = snapshot.string();
  return place;
}

[[noreturn]] void fail_not_cached(const std::string& asked, const HubRequest& request,
                                  const fs::path& folder) {
  const bool there = is_folder(folder);
  PRUNUS_FAIL(NotFound, quote(asked), ": no such directory or file, and ",
              there ? c10::str("of ", request.name, " the Hugging Face cache ", hub_cache_folder(),
                               " has other revisions only (", references(folder), ")")
                    : c10::str("not in the Hugging Face cache ", hub_cache_folder()),
              ". If it is a model of the Hub, download it: ",
              download_command(request.name, request.revision));
}

ModelPlace in_hub_cache(const std::string& asked) {
  const HubRequest request = split(asked);
  const bool revision = asked.find('@') != asked.npos;
  PRUNUS_CHECK(is_hub_name(request.name) && (!revision || is_revision(request.revision)), NotFound,
               quote(asked),
               ": no such directory or file; expected a Hugging Face model directory, or the name "
               "of a model that was downloaded from the Hub: org/name, or org/name@revision");
  const fs::path folder = fs::path(hub_cache_folder()) / folder_of(request.name);
  ModelPlace place = snapshot_in(folder, request, asked);
  if (place.path.empty()) fail_not_cached(asked, request, folder);
  return place;
}

}  // namespace

std::string hub_cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string path = variable(name); !path.empty()) return expanded(path);
  }
  if (const std::string home = variable("HF_HOME"); !home.empty()) return expanded(home) + "/hub";
  const std::string cache = variable("XDG_CACHE_HOME");
  return expanded(cache.empty() ? "~/.cache" : cache) + "/huggingface/hub";
}

std::string download_command(std::string_view hub_name, std::string_view revision) {
  return c10::str("hf download ", hub_name, revision.empty() ? "" : " --revision ", revision);
}

ModelPlace place_of(const std::string& path) {
  ModelPlace place{.asked = path, .path = path};
  std::error_code ignored;
  const fs::path whole = fs::absolute(path, ignored).lexically_normal();
  const fs::path dir = whole.has_filename() ? whole : whole.parent_path();
  const std::string commit = dir.filename().string();
  if (dir.parent_path().filename() != "snapshots" || !is_commit(commit)) return place;
  place.hub_name = hub_name_of(dir.parent_path().parent_path().filename().string());
  if (!place.hub_name.empty()) place.commit = commit;
  return place;
}

ModelPlace locate_model(const std::string& asked) {
  std::error_code ignored;
  const fs::path path(asked);
  if (!fs::exists(path, ignored)) return in_hub_cache(asked);
  const fs::path folder = path.has_filename() ? path : path.parent_path();
  const std::string name = hub_name_of(folder.filename().string());
  if (name.empty() || !is_folder(folder / "snapshots")) return place_of(asked);
  ModelPlace place = snapshot_in(folder, {name, {}}, asked);
  if (place.path.empty()) fail_not_cached(asked, {name, {}}, folder);
  return place;
}

}  // namespace prunus
