#include <array>
#include <ctime>

#include "prunus/text/jinja_eval.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

constexpr int64_t kMostRange = 100'000;  // that of Jinja's sandbox

int64_t whole(const Value& value) {
  if (!value.is_whole())
    PRUNUS_FAULT(Corrupt, "range: got a ", value.type_name(), ", expected whole numbers");
  return value.as_int();
}

Value range(Args& args) {
  const size_t count = args.positional.size();
  if (count < 1 || count > 3 || !args.named.empty()) {
    PRUNUS_FAULT(Corrupt, "range: expected one to three numbers");
  }
  const int64_t start = count == 1 ? 0 : whole(args.positional[0]);
  const int64_t stop = whole(args.positional[count == 1 ? 0 : 1]);
  const int64_t step = count == 3 ? whole(args.positional[2]) : 1;
  if (step == 0) PRUNUS_FAULT(Corrupt, "range: the step is 0");
  Values items;
  int64_t at = start;
  while (step > 0 ? at < stop : at > stop) {
    if (items.size() >= kMostRange) PRUNUS_FAULT(Corrupt, "range: more than ", kMostRange);
    items.push_back(Value::integer(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  args.budget.bytes(items.size() * sizeof(Value));
  return Value::list(std::move(items));
}

// The entries of a mapping or of none, then the named arguments.
std::vector<std::pair<std::string, Value>> entries_of(Args& args) {
  std::vector<std::pair<std::string, Value>> entries;
  for (const Value& value : args.positional) {
    if (!value.is(Kind::Dict)) {
      PRUNUS_FAULT(Unsupported, "made from a ", value.type_name(), ", expected a mapping");
    }
    const auto& more = value.as_dict().entries;
    entries.insert(entries.end(), more.begin(), more.end());
  }
  entries.insert(entries.end(), args.named.begin(), args.named.end());
  return entries;
}

Value make_namespace(Args& args) {
  auto space = std::make_shared<Namespace>();
  for (auto& [name, value] : entries_of(args)) space->set(name, std::move(value));
  return Value::object(std::move(space));
}

Value raise(Args& args) {
  PRUNUS_FAULT(Corrupt, "the template raises: ", str(args.need(0, "message")));
}

Value moment(Args& args) {
  const Value format = args.need(0, "format");
  if (!format.is(Kind::String)) PRUNUS_FAULT(Corrupt, "strftime_now: expected a format");
  std::tm time{};  // Friday, 26 July 2024
  time.tm_year = 124;
  time.tm_mon = 6;
  time.tm_mday = 26;
  time.tm_wday = 5;
  time.tm_yday = 207;
  std::array<char, 1024> text;
  const size_t size = std::strftime(text.data(), text.size(), format.as_string().c_str(), &time);
  return Value::string({text.data(), size});
}

}  // namespace

void add_globals(Scope& scope) {
  const auto add = [&](const char* name, Function::Call call) {
    scope.names[name] = Value::object(std::make_shared<Function>(std::move(call)));
  };
  add("range", range);
  add("dict", [](Args& args) { return Value::dict(entries_of(args)); });
  add("namespace", make_namespace);
  add("raise_exception", raise);
  add("strftime_now", moment);
  for (const char* name : {"lipsum", "cycler", "joiner"}) {
    add(name, [name](Args&) -> Value {
      PRUNUS_FAULT(Unsupported, "function '", name, "' is not supported");
    });
  }
}

}  // namespace prunus::text::jinja
