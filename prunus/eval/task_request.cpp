#include "prunus/eval/task_request.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <numeric>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/files.h"
#include "prunus/base/nearest.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/eval/task_record.h"
#include "prunus/text/utf8.h"

namespace prunus {
namespace {

constexpr std::string_view kTableTasks = "llm-pruner-table";
constexpr std::string_view kAll = "all";
constexpr std::string_view kBetweenExamples = "\n\n";

struct Record {
  Json json;
  std::string where;  // "file: line N"
};

Record record_of(std::string_view line, std::string where) {
  Json json = parse_json(line, where);
  PRUNUS_CHECK(json.is_object(), Corrupt, where, ": is ", json.type_name(),
               ", expected an object (one JSON object a line)");
  return {std::move(json), std::move(where)};
}

// The first `limit` records, or all where it is 0.
std::vector<Record> read_records(const std::string& path, int64_t limit) {
  const std::string content = read_file(path);
  std::vector<Record> records;
  int64_t number = 0;
  for (size_t at = 0; at < content.size();) {
    if (limit > 0 && static_cast<int64_t>(records.size()) == limit) break;
    const size_t end = std::min(content.find('\n', at), content.size());
    const std::string_view line = std::string_view(content).substr(at, end - at);
    ++number;
    if (line.find_first_not_of(" \t\r") != line.npos) {
      records.push_back(record_of(line, c10::str(path, ": line ", number)));
    }
    at = end + 1;
  }
  PRUNUS_CHECK(!records.empty(), Corrupt, path, ": holds no record");
  return records;
}

// `count` different indices below `size`, as Python's random.sample(range(size), count) gives them.
// For few out of many it tries again where one comes up twice; otherwise it empties a list.
// Source: CPython Lib/random.py.
std::vector<size_t> python_sample(PythonRandom& random, size_t size, size_t count) {
  size_t list_limit = 21;
  if (count > 5) {
    size_t power = 1;
    while (power < 3 * count) power *= 4;
    list_limit += power;
  }
  std::vector<size_t> drawn;
  if (size <= list_limit) {
    std::vector<size_t> pool(size);
    std::iota(pool.begin(), pool.end(), size_t{0});
    for (size_t left = size; left > size - count; --left) {
      const size_t pick = random.below(left);
      drawn.push_back(pool[pick]);
      pool[pick] = pool[left - 1];
    }
    return drawn;
  }
  std::set<size_t> seen;
  while (drawn.size() < count) {
    const size_t pick = random.below(size);
    if (seen.insert(pick).second) drawn.push_back(pick);
  }
  return drawn;
}

// The solved examples that stand before an item.
class Examples {
 public:
  Examples(const Task& task, std::string path, const TaskRunOptions& options, int64_t count)
      : choice_(task.few_shot_choice),
        path_(std::move(path)),
        count_(static_cast<size_t>(count)),
        random_(options.seed) {
    if (count == 0) return;
    for (Record& record : read_records(path_, 0)) {
      TaskItem item = task.item(record.json, record.where);
      const TaskItem::Choice& right = item.choices[static_cast<size_t>(item.label)];
      pool_.push_back({c10::str(right.context, right.continuation, kBetweenExamples),
                       std::move(item.subject), nlohmann::json(record.json)});
    }
  }

  // The text of those for one item, which was made from `record`. In the order of the items.
  std::string before(const TaskItem& item, const Json& record) {
    if (count_ == 0) return "";
    const std::vector<size_t> chosen = choice_ == FewShot::First        ? first_of(item.subject)
                                       : choice_ == FewShot::DrawnOther ? draw_others(record)
                                                                        : draw(all(), count_);
    std::string text;
    for (const size_t one : chosen) text += pool_[one].text;
    return text;
  }

 private:
  struct Example {
    std::string text;
    std::string subject;
    nlohmann::json record;  // sorted keys: equal records are equal in any order of their fields
  };

  std::vector<size_t> all() const {
    std::vector<size_t> indices(pool_.size());
    std::iota(indices.begin(), indices.end(), size_t{0});
    return indices;
  }

  void check_enough(size_t there, size_t needed, const std::string& of) const {
    PRUNUS_CHECK(there >= needed, InvalidArgument, path_, ": has ", there, " examples", of,
                 ", but ", needed, " are needed for ", count_, " few-shot examples");
  }

  std::vector<size_t> draw(const std::vector<size_t>& from, size_t count) {
    check_enough(from.size(), count, "");
    std::vector<size_t> drawn = python_sample(random_, from.size(), count);
    for (size_t& one : drawn) one = from[one];
    return drawn;
  }

  // One more than needed, so that the item itself can be left out; where it stands in the pool
  // several times, that may not do, and all are drawn again from the others.
  std::vector<size_t> draw_others(const Json& record) {
    const nlohmann::json self(record);
    const auto is_self = [&](size_t one) { return pool_[one].record == self; };
    std::vector<size_t> drawn = draw(all(), count_ + 1);
    std::erase_if(drawn, is_self);
    if (drawn.size() < count_) {
      std::vector<size_t> others = all();
      std::erase_if(others, is_self);
      drawn = draw(others, count_);
    }
    drawn.resize(count_);
    return drawn;
  }

  std::vector<size_t> first_of(const std::string& subject) const {
    std::vector<size_t> found;
    for (size_t i = 0; i < pool_.size() && found.size() < count_; ++i) {
      if (pool_[i].subject == subject) found.push_back(i);
    }
    check_enough(found.size(), count_, " of subject '" + subject + "'");
    return found;
  }

  FewShot choice_;
  std::string path_;
  size_t count_;
  PythonRandom random_;
  std::vector<Example> pool_;
};

// BOS, else EOS: what an empty context is replaced by, and what a text must not begin with twice.
std::optional<int64_t> prefix_id(const Tokenizer& tokenizer) {
  return tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
}

bool begins_with_prefix(const Tokenizer& tokenizer, const std::string& text) {
  const auto prefix = prefix_id(tokenizer);
  return prefix && text.starts_with(tokenizer.decode(std::span(&*prefix, 1), false));
}

std::vector<int64_t> encode_with_prefix(const Tokenizer& tokenizer, const std::string& text) {
  std::vector<int64_t> ids = tokenizer.encode(text);
  if (!begins_with_prefix(tokenizer, text)) {
    const std::vector<int64_t> prefix = tokenizer.prefix_ids();
    ids.insert(ids.begin(), prefix.begin(), prefix.end());
  }
  return ids;
}

ScoreRequest request_without_context(const Tokenizer& tokenizer, const std::string& continuation,
                                     const std::string& where) {
  const auto prefix = prefix_id(tokenizer);
  PRUNUS_CHECK(prefix, Unsupported, where,
               ": the context is empty and the tokenizer has neither BOS nor EOS to put there");
  std::vector<int64_t> ids = tokenizer.encode(continuation);
  if (!ids.empty() && ids.front() == *prefix) ids.erase(ids.begin());
  return {{*prefix}, std::move(ids)};
}

ScoreRequest split_request(const Tokenizer& tokenizer, const std::string& context,
                           const std::string& continuation, const std::string& where) {
  const size_t kept = context.size() - trailing_space_bytes(context);
  std::vector<int64_t> first = encode_with_prefix(tokenizer, context.substr(0, kept));
  // White space only, and a tokenizer that adds nothing.
  if (first.empty()) return request_without_context(tokenizer, context + continuation, where);
  const std::vector<int64_t> whole = encode_with_prefix(tokenizer, context + continuation);
  const auto cut = std::min(first.size(), whole.size());
  return {std::move(first), {whole.begin() + static_cast<std::ptrdiff_t>(cut), whole.end()}};
}

int64_t few_shot_of(const Task& task, const TaskRunOptions& options) {
  const int64_t count = options.few_shot.value_or(task.few_shot);
  PRUNUS_CHECK(count >= 0, InvalidArgument, "few-shot examples: got ", count,
               ", expected 0 or more");
  PRUNUS_CHECK(count == 0 || !task.few_shot_file.empty(), InvalidArgument, "task ", task.name,
               " takes no few-shot examples, but ", count, " were asked for");
  return count;
}

}  // namespace

const Task& find_task(std::string_view name) {
  std::vector<std::string> known;
  for (const Task* task : tasks::all()) {
    if (task->name == name) return *task;
    known.emplace_back(task->name);
  }
  known.insert(known.end(), {std::string(kAll), std::string(kTableTasks)});
  PRUNUS_FAIL(InvalidArgument, "--tasks ", unknown_word(name, known));
}

std::vector<const Task*> choose_tasks(const std::vector<std::string>& names,
                                      const std::string& dir) {
  PRUNUS_CHECK(!names.empty(), InvalidArgument, "no task is named; try ", kAll, " or ",
               kTableTasks);
  std::vector<const Task*> chosen;
  const auto add = [&](const Task& task) {
    if (std::find(chosen.begin(), chosen.end(), &task) == chosen.end()) chosen.push_back(&task);
  };
  const auto add_if = [&](const std::function<bool(const Task&)>& wanted) {
    for (const Task* task : tasks::all()) {
      if (wanted(*task)) add(*task);
    }
  };
  const std::filesystem::path folder(dir);
  for (const std::string& name : names) {
    if (name == kAll) {
      add_if([&](const Task& task) { return std::filesystem::exists(folder / task.file); });
    } else if (name == kTableTasks) {
      add_if([](const Task& task) { return task.in_llm_pruner_table; });
    } else {
      add(find_task(name));
    }
  }
  PRUNUS_CHECK(!chosen.empty(), NotFound, dir,
               ": holds no task's file, such as boolq.jsonl; docs/tasks.md lists them");
  return chosen;
}

ScoreRequest make_request(const Tokenizer& tokenizer, const std::string& context,
                          const std::string& continuation, const std::string& where) {
  ScoreRequest request = context.empty() ? request_without_context(tokenizer, continuation, where)
                                         : split_request(tokenizer, context, continuation, where);
  PRUNUS_CHECK(!request.continuation.empty(), Corrupt, where, ": the continuation '", continuation,
               "' adds no token to its context");
  return request;
}

PreparedTask prepare_task(const Task& task, const Tokenizer& tokenizer,
                          const TaskRunOptions& options) {
  PRUNUS_CHECK(options.limit >= 0, InvalidArgument, "limit of items: got ", options.limit,
               ", expected 1 or more, or 0 for all");
  const std::filesystem::path folder(options.dir);
  const std::string path = folder / task.file;
  PreparedTask prepared;
  prepared.task = &task;
  prepared.few_shot = few_shot_of(task, options);
  const std::vector<Record> records = read_records(path, options.limit);
  prepared.file_sha256 = sha256_file(path);
  Examples examples(task, folder / task.few_shot_file, options, prepared.few_shot);
  Progress progress(c10::str("tokenizing ", task.name), static_cast<int64_t>(records.size()));
  for (const Record& record : records) {
    TaskItem item = task.item(record.json, record.where);
    const std::string before = item.description + examples.before(item, record.json);
    for (TaskItem::Choice& choice : item.choices) {
      choice.context.insert(0, before);
      prepared.requests.push_back(
          make_request(tokenizer, choice.context, choice.continuation, record.where));
    }
    prepared.items.push_back(std::move(item));
    progress.step();
  }
  return prepared;
}

}  // namespace prunus
