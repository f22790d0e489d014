// Filters of lists and mappings.
#include <algorithm>
#include <charconv>
#include <map>

#include "prunus/text/jinja_strings.h"
#include "prunus/text/jinja_value.h"

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

// What `a.b.0` names in a value, as make_attrgetter of Jinja.
Value reach(const Value& value, const Value& path) {
  if (path.is_whole()) return item_of(value, path);
  const std::string dot = ".";
  Value found = value;
  for (const std::string& name : split(str(path), &dot)) {
    int64_t index = 0;
    const auto read = std::from_chars(name.data(), name.data() + name.size(), index);
    const bool is_index = !name.empty() && read.ptr == name.data() + name.size();
    found = item_of(found, is_index ? Value::integer(index) : Value::string(name));
  }
  return found;
}

Value folded(const Value& value, bool case_sensitive) {
  if (case_sensitive || !value.is(Kind::String)) return value;
  return Value::string(lower(value.as_string()));
}

// What items are sorted and told apart by.
struct Key {
  Value attribute;
  bool case_sensitive;
  Value operator()(const Value& item) const {
    return folded(attribute.is(Kind::None) ? item : reach(item, attribute), case_sensitive);
  }
};

void sort_by(std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  // Python keeps the order of equal items, in reverse, too.
  std::stable_sort(keyed.begin(), keyed.end(), [reverse](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first) : less(a.first, b.first);
  });
}

Values sorted(const Values& items, const Key& key, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : items) keyed.emplace_back(key(item), item);
  sort_by(keyed, reverse);
  Values result;
  for (auto& entry : keyed) result.push_back(std::move(entry.second));
  return result;
}

Value sort(const Value& value, Args& args) {
  args.allow({"reverse", "case_sensitive", "attribute"});
  const Key key{args.get(2, "attribute", Value()), args.get(1, "case_sensitive", Value()).truth()};
  return Value::list(sorted(iterate(value), key, args.get(0, "reverse", Value()).truth()));
}

template <bool largest>
Value extreme(const Value& value, Args& args) {
  args.allow({"case_sensitive", "attribute"});
  const Key key{args.get(1, "attribute", Value()), args.get(0, "case_sensitive", Value()).truth()};
  const Values items = iterate(value);
  if (items.empty()) return Value::undefined("an empty sequence has no smallest or largest item");
  return sorted(items, key, largest).front();
}

Value unique(const Value& value, Args& args) {
  args.allow({"case_sensitive", "attribute"});
  const Key key{args.get(1, "attribute", Value()), args.get(0, "case_sensitive", Value()).truth()};
  Values seen;
  Values kept;
  for (const Value& item : iterate(value)) {
    const Value one = key(item);
    const auto same = [&](const Value& other) {
      args.budget.step();
      return equal(one, other);
    };
    if (std::any_of(seen.begin(), seen.end(), same)) continue;
    seen.push_back(one);
    kept.push_back(item);
  }
  return Value::iterator(std::move(kept));
}

Value dictsort(const Value& value, Args& args) {
  args.allow({"case_sensitive", "by", "reverse"});
  if (!value.is(Kind::Dict))
    PRUNUS_FAULT(Corrupt, "got a ", value.type_name(), ", expected a dict");
  const bool sensitive = args.get(0, "case_sensitive", Value()).truth();
  const bool by_value = str(args.get(1, "by", Value::string("key"))) == "value";
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [name, entry] : value.as_dict().entries) {
    keyed.emplace_back(folded(by_value ? entry : Value::string(name), sensitive),
                       Value::list({Value::string(name), entry}, true));
  }
  sort_by(keyed, args.get(2, "reverse", Value()).truth());
  Values result;
  for (auto& entry : keyed) result.push_back(std::move(entry.second));
  return Value::list(std::move(result));
}

Value first(const Value& value, Args& args) {
  args.allow({});
  const Values items = iterate(value);
  return items.empty() ? Value::undefined("an empty sequence has no first item") : items.front();
}

Value last(const Value& value, Args& args) {
  args.allow({});
  if (value.is(Kind::List) && value.as_list().iterator) {
    PRUNUS_FAULT(Corrupt, "an iterator has no last item; put it through `list`");
  }
  const Values items = iterate(value);
  return items.empty() ? Value::undefined("an empty sequence has no last item") : items.back();
}

Value list(const Value& value, Args& args) {
  args.allow({});
  Values items = iterate(value);
  args.budget.bytes(items.size() * sizeof(Value));
  return Value::list(std::move(items));
}

Value reverse(const Value& value, Args& args) {
  args.allow({});
  Values items = iterate(value);
  std::reverse(items.begin(), items.end());
  args.budget.bytes(items.size() * sizeof(Value));
  if (!value.is(Kind::String)) return Value::iterator(std::move(items));
  std::string text;
  for (const Value& item : items) text += item.as_string();
  return Value::string(std::move(text));
}

Value join(const Value& value, Args& args) {
  args.allow({"d", "attribute"});
  const std::string between = str(args.get(0, "d", Value::string("")));
  const Value attribute = args.get(1, "attribute", Value());
  std::string text;
  bool begin = true;
  for (const Value& item : iterate(value)) {
    if (!std::exchange(begin, false)) text += between;
    const size_t before = text.size();
    text += str(attribute.is(Kind::None) ? item : reach(item, attribute));
    args.budget.bytes(between.size() + text.size() - before);
  }
  return Value::string(std::move(text));
}

Value sum(const Value& value, Args& args) {
  args.allow({"attribute", "start"});
  const Value attribute = args.get(0, "attribute", Value());
  Value total = args.get(1, "start", Value::integer(0));
  for (const Value& item : iterate(value)) {
    total = arithmetic("+", total, attribute.is(Kind::None) ? item : reach(item, attribute),
                       args.budget);
  }
  return total;
}

Value items(const Value& value, Args& args) {
  args.allow({});
  if (value.is(Kind::Undefined)) return Value::iterator({});
  if (!value.is(Kind::Dict))
    PRUNUS_FAULT(Corrupt, "got a ", value.type_name(), ", expected a dict");
  Values pairs;
  for (const auto& [key, entry] : value.as_dict().entries) {
    pairs.push_back(Value::list({Value::string(key), entry}, true));
  }
  return Value::iterator(std::move(pairs));
}

// The name of the filter or test that is the argument at a place, and the arguments behind it.
std::string inner_name(Args& args, size_t at, const char* what) {
  const Value name = args.need(at, what);
  if (!name.is(Kind::String)) PRUNUS_FAULT(Corrupt, "the name of a ", what, " is no str");
  return name.as_string();
}

Args behind(const Args& args, size_t at) {
  Args rest{.positional = {}, .named = args.named, .budget = args.budget};
  if (args.positional.size() > at) {
    rest.positional.assign(args.positional.begin() + static_cast<std::ptrdiff_t>(at),
                           args.positional.end());
  }
  return rest;
}

Value map(const Value& value, Args& args) {
  const bool by_attribute = args.positional.empty() && args.find(9, "attribute").has_value();
  Values result;
  if (by_attribute) {
    args.allow({"attribute", "default"});
    const auto otherwise = args.find(9, "default");
    for (const Value& item : iterate(value)) {
      Value found = reach(item, *args.find(9, "attribute"));
      result.push_back(found.is(Kind::Undefined) && otherwise ? *otherwise : std::move(found));
    }
    return Value::iterator(std::move(result));
  }
  const std::string name = inner_name(args, 0, "filter");
  const FilterCall filter = find_filter(name);
  if (filter == nullptr) PRUNUS_FAULT(Unsupported, "filter '", name, "' is not supported");
  for (const Value& item : iterate(value)) {
    Args rest = behind(args, 1);
    args.budget.step();
    result.push_back(filter(item, rest));
  }
  return Value::iterator(std::move(result));
}

// select, reject (of the items), selectattr, rejectattr (of an attribute of them).
template <bool by_attribute, bool keeps>
Value select(const Value& value, Args& args) {
  const Value attribute = by_attribute ? args.need(0, "attribute") : Value();
  const size_t at = by_attribute ? 1 : 0;
  TestCall test = nullptr;
  if (args.positional.size() > at) {
    const std::string name = inner_name(args, at, "test");
    test = find_test(name);
    if (test == nullptr) PRUNUS_FAULT(Unsupported, "test '", name, "' is not supported");
  }
  Values kept;
  for (const Value& item : iterate(value)) {
    args.budget.step();
    const Value subject = by_attribute ? reach(item, attribute) : item;
    Args rest = behind(args, at + 1);
    if ((test != nullptr ? test(subject, rest) : subject.truth()) == keeps) kept.push_back(item);
  }
  return Value::iterator(std::move(kept));
}

const std::map<std::string_view, FilterCall>& list_filters() {
  static const std::map<std::string_view, FilterCall> all = {
      {"dictsort", dictsort},
      {"first", first},
      {"items", items},
      {"join", join},
      {"last", last},
      {"list", list},
      {"map", map},
      {"max", extreme<true>},
      {"min", extreme<false>},
      {"reject", select<false, false>},
      {"rejectattr", select<true, false>},
      {"reverse", reverse},
      {"select", select<false, true>},
      {"selectattr", select<true, true>},
      {"sort", sort},
      {"sum", sum},
      {"unique", unique},
  };
  return all;
}

}  // namespace

FilterCall find_list_filter(std::string_view name) {
  const auto found = list_filters().find(name);
  return found == list_filters().end() ? nullptr : found->second;
}

}  // namespace prunus::text::jinja
