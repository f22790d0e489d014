// count MODEL: prints how many parameters it has.
#include <iostream>
#include <prunus/model/model.h>

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  std::cout << prunus::open_model(argv[1]).parameters() << '\n';
}
