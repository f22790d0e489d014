#include "prunus/text/jinja_eval.h"

#include <algorithm>

namespace prunus::text::jinja {
namespace {

using Kind = Value::Kind;

constexpr size_t kMostText = size_t{64} << 20;

// The variable `loop`.
class Loop : public Object, public std::enable_shared_from_this<Loop> {
 public:
  Loop(Values items, int64_t level)
      : items_(std::make_shared<const Values>(std::move(items))), level_(level) {}

  size_t at = 0;
  const Values& items() const { return *items_; }
  std::string_view type() const override { return "loop"; }

  std::optional<Value> attribute(const std::string& name) const override {
    const auto index = static_cast<int64_t>(at);
    const auto length = static_cast<int64_t>(items_->size());
    if (name == "index") return Value::integer(index + 1);
    if (name == "index0") return Value::integer(index);
    if (name == "revindex") return Value::integer(length - index);
    if (name == "revindex0") return Value::integer(length - index - 1);
    if (name == "first") return Value::boolean(index == 0);
    if (name == "last") return Value::boolean(index + 1 == length);
    if (name == "length") return Value::integer(length);
    if (name == "depth") return Value::integer(level_);
    if (name == "depth0") return Value::integer(level_ - 1);
    if (name == "previtem") return index > 0 ? (*items_)[at - 1] : none("previous");
    if (name == "nextitem") return index + 1 < length ? (*items_)[at + 1] : none("next");
    if (name == "cycle") return cycle();
    if (name == "changed") PRUNUS_FAULT(Unsupported, "loop.changed is not supported");
    return std::nullopt;
  }

 private:
  static Value none(const char* which) {
    return Value::undefined(c10::str("there is no ", which, " item"));
  }

  Value cycle() const {
    return Value::object(std::make_shared<Function>([index = at](Args& args) {
      if (args.positional.empty()) PRUNUS_FAULT(Corrupt, "loop.cycle: no items to cycle through");
      return args.positional[index % args.positional.size()];
    }));
  }

  std::shared_ptr<const Values> items_;
  int64_t level_;
};

enum class Flow { Normal, Break, Continue };

class Renderer {
 public:
  explicit Renderer(const std::string& where) : evaluator_(where) {}

  Flow run(const Body& body, const ScopePtr& scope) {
    for (const Stmt& stmt : body) {
      const Flow flow = evaluator_.placed(stmt.place, [&] {
        const ExpressionEvaluator::Deeper deeper(evaluator_);
        evaluator_.budget().step();
        return statement(stmt, scope);
      });
      if (flow != Flow::Normal) return flow;
    }
    return Flow::Normal;
  }

  Rendered take() { return std::move(main_); }

 private:
  Flow statement(const Stmt& stmt, const ScopePtr& scope) {
    switch (stmt.kind) {
      case StmtKind::Text:
        put(stmt.text);
        return Flow::Normal;
      case StmtKind::Print:
        put(str(evaluator_.eval(*stmt.exprs[0], scope)));
        return Flow::Normal;
      case StmtKind::If:
        return branch(stmt, scope);
      case StmtKind::For:
        return loop(stmt, scope);
      case StmtKind::Set:
        assign(stmt, evaluator_.eval(*stmt.exprs[0], scope), scope);
        return Flow::Normal;
      case StmtKind::SetBlock:
      case StmtKind::FilterBlock:
        return captured(stmt, scope);
      case StmtKind::Macro:
        scope->names[stmt.text] = macro(stmt, scope);
        return Flow::Normal;
      case StmtKind::With:
        return with(stmt, scope);
      case StmtKind::Generation:
        return generation(stmt, scope);
      case StmtKind::Break:
        return Flow::Break;
      case StmtKind::Continue:
        return Flow::Continue;
    }
    return Flow::Normal;
  }

  void put(const std::string& text) {
    evaluator_.budget().bytes(text.size());
    if (out_->size() + text.size() > kMostText) {
      PRUNUS_FAULT(Corrupt, "the rendered text is longer than ", kMostText, " bytes");
    }
    *out_ += text;
  }

  static ScopePtr inside(const ScopePtr& scope) {
    return std::make_shared<Scope>(Scope{.outer = scope, .names = {}});
  }

  Flow branch(const Stmt& stmt, const ScopePtr& scope) {
    for (size_t i = 0; i < stmt.exprs.size(); ++i) {
      if (evaluator_.eval(*stmt.exprs[i], scope).truth()) return run(stmt.bodies[i], scope);
    }
    return stmt.bodies.size() > stmt.exprs.size() ? run(stmt.bodies.back(), scope) : Flow::Normal;
  }

  // One value to the targets.
  void bind(const Stmt& stmt, const Value& value, Scope& scope) {
    if (!stmt.unpack) {
      scope.names[stmt.targets[0]] = value;
      return;
    }
    const Values items = iterate(value);
    if (items.size() != stmt.targets.size()) {
      PRUNUS_FAULT(Corrupt, "got ", items.size(), " values to unpack, expected ",
                   stmt.targets.size());
    }
    for (size_t i = 0; i < items.size(); ++i) scope.names[stmt.targets[i]] = items[i];
  }

  void assign(const Stmt& stmt, const Value& value, const ScopePtr& scope) {
    if (!stmt.attribute) return bind(stmt, value, *scope);
    const Value* found = scope->find(stmt.targets[0]);
    auto* space = found != nullptr && found->is(Kind::Object)
                      ? dynamic_cast<Namespace*>(&found->as_object())
                      : nullptr;
    if (space == nullptr) {
      PRUNUS_FAULT(Corrupt, "'", stmt.targets[0], "' is no namespace: its attribute '",
                   stmt.targets[1], "' cannot be set");
    }
    space->set(stmt.targets[1], value);
  }

  Values loop_items(const Stmt& stmt, const ScopePtr& scope) {
    Values items = iterate(evaluator_.eval(*stmt.exprs[0], scope));
    evaluator_.budget().bytes(items.size() * sizeof(Value));
    if (!stmt.exprs[1]) return items;
    Values kept;
    for (Value& item : items) {
      evaluator_.budget().step();
      const ScopePtr inner = inside(scope);
      bind(stmt, item, *inner);
      if (evaluator_.eval(*stmt.exprs[1], inner).truth()) kept.push_back(std::move(item));
    }
    return kept;
  }

  Flow loop(const Stmt& stmt, const ScopePtr& scope) {
    const auto state = std::make_shared<Loop>(loop_items(stmt, scope), ++loops_);
    bool completed = false;  // a body ran to its end: what decides about `else` in Jinja
    for (; state->at < state->items().size(); ++state->at) {
      evaluator_.budget().step();
      const ScopePtr inner = inside(scope);
      inner->names["loop"] = Value::object(state);
      bind(stmt, state->items()[state->at], *inner);
      const Flow flow = run(stmt.bodies[0], inner);
      if (flow == Flow::Break) break;
      completed = completed || flow == Flow::Normal;
    }
    --loops_;
    return !completed && stmt.bodies.size() > 1 ? run(stmt.bodies[1], inside(scope)) : Flow::Normal;
  }

  // Runs a body with its text going elsewhere.
  Flow capture(const Body& body, const ScopePtr& scope, std::string& text) {
    std::string* before = std::exchange(out_, &text);
    const Flow flow = run(body, scope);
    out_ = before;
    return flow;
  }

  Flow captured(const Stmt& stmt, const ScopePtr& scope) {
    std::string text;
    const Flow flow = capture(stmt.bodies[0], inside(scope), text);
    if (flow != Flow::Normal) return flow;
    Value value = Value::string(std::move(text));
    if (stmt.exprs[0]) value = evaluator_.eval_filters(*stmt.exprs[0], value, scope);
    if (stmt.kind == StmtKind::FilterBlock) {
      put(str(value));
    } else {
      assign(stmt, value, scope);
    }
    return Flow::Normal;
  }

  Flow with(const Stmt& stmt, const ScopePtr& scope) {
    const ScopePtr inner = inside(scope);
    for (size_t i = 0; i < stmt.exprs.size(); ++i) {
      inner->names[stmt.targets[i]] = evaluator_.eval(*stmt.exprs[i], scope);
    }
    return run(stmt.bodies[0], inner);
  }

  Flow generation(const Stmt& stmt, const ScopePtr& scope) {
    if (out_ != &main_.text) {
      PRUNUS_FAULT(Unsupported, "a generation block inside of a macro, set or filter block");
    }
    const size_t begin = main_.text.size();
    const Flow flow = run(stmt.bodies[0], inside(scope));
    main_.generated.emplace_back(begin, main_.text.size());
    return flow;
  }

  // Scopes own their macros, so a macro only looks at its scope.
  Value macro(const Stmt& stmt, const ScopePtr& scope) {
    return Value::object(
        std::make_shared<Function>([this, &stmt, weak = std::weak_ptr<Scope>(scope)](Args& args) {
          const ScopePtr outer = weak.lock();
          if (!outer) PRUNUS_FAULT(Unsupported, "macro '", stmt.text, "' outlived its block");
          return call(stmt, args, outer);
        }));
  }

  Value call(const Stmt& stmt, Args& args, const ScopePtr& outer) {
    const ScopePtr scope = inside(outer);
    const size_t first_default = stmt.targets.size() - stmt.exprs.size();
    if (args.positional.size() > stmt.targets.size()) {
      PRUNUS_FAULT(Corrupt, "macro '", stmt.text, "' got ", args.positional.size(),
                   " arguments, expected at most ", stmt.targets.size());
    }
    for (const auto& [name, value] : args.named) {
      if (std::find(stmt.targets.begin(), stmt.targets.end(), name) == stmt.targets.end()) {
        PRUNUS_FAULT(Corrupt, "macro '", stmt.text, "' has no argument '", name, "'");
      }
    }
    for (size_t i = 0; i < stmt.targets.size(); ++i) {
      const std::string& name = stmt.targets[i];
      if (const auto given = args.find(i, name)) {
        scope->names[name] = *given;
      } else if (i >= first_default) {
        scope->names[name] = evaluator_.eval(*stmt.exprs[i - first_default], scope);
      } else {
        scope->names[name] = Value::undefined("argument '" + name + "' was not given");
      }
    }
    std::string text;
    const int64_t loops = std::exchange(loops_, 0);
    capture(stmt.bodies[0], scope, text);
    loops_ = loops;
    return Value::string(std::move(text));
  }

  ExpressionEvaluator evaluator_;
  Rendered main_;
  std::string* out_ = &main_.text;
  int64_t loops_ = 0;
};

}  // namespace

Rendered render(const Body& body, const ScopePtr& scope, const std::string& where) {
  Renderer renderer(where);
  renderer.run(body, scope);
  return renderer.take();
}

}  // namespace prunus::text::jinja
