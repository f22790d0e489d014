#include "prunus/text/chat_template.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/text/jinja_eval.h"

namespace prunus {
namespace {

namespace jinja = text::jinja;

bool has_generation_block(const jinja::Body& body) {
  return std::any_of(body.begin(), body.end(), [](const jinja::Stmt& stmt) {
    return stmt.kind == jinja::StmtKind::Generation ||
           std::any_of(stmt.bodies.begin(), stmt.bodies.end(), has_generation_block);
  });
}

}  // namespace

struct ChatTemplate::Tree {
  jinja::Body body;
};

ChatTemplate::ChatTemplate(std::string_view source, std::string where)
    : where_(std::move(where)),
      tree_(std::make_unique<const Tree>(Tree{jinja::parse(source, where_)})),
      has_generation_(has_generation_block(tree_->body)) {}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatRendering ChatTemplate::render(const Json& variables) const {
  const auto scope = std::make_shared<jinja::Scope>();
  try {
    jinja::add_globals(*scope);
    for (const auto& [name, value] : variables.items()) {
      scope->names[name] = jinja::Value::of(value);
    }
  } catch (const jinja::Fault& fault) {
    throw Error(fault.kind(), where_ + ": the values given to the template: " + fault.what());
  }
  jinja::Rendered rendered = jinja::render(tree_->body, scope, where_);
  return {std::move(rendered.text), std::move(rendered.generated)};
}

}  // namespace prunus
