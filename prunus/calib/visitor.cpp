#include "prunus/calib/visitor.h"

#include <c10/util/Exception.h>

namespace prunus {

Stage stage_of(Role role) {
  switch (role) {
    case Role::QProj:
    case Role::KProj:
    case Role::VProj:
      return Stage::QueryKeyValue;
    case Role::OProj:
      return Stage::Output;
    case Role::GateProj:
    case Role::UpProj:
    case Role::Router:
    case Role::SharedGateProj:
    case Role::SharedUpProj:
    case Role::SharedRouter:
      return Stage::GateUp;
    case Role::DownProj:
    case Role::SharedDownProj:
      return Stage::Down;
    default:
      TORCH_INTERNAL_ASSERT(false, "role ", static_cast<int>(role), " is no product of a layer");
  }
}

}  // namespace prunus
