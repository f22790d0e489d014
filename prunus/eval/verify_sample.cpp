#include "prunus/eval/verify.h"

namespace prunus {

std::string_view verify_sample() {
  return R"(The gardener walked along the row of plum trees and looked at each branch in turn. Some had
grown straight towards the light; others crossed, rubbed against each other and bore nothing. "You
cannot keep them all," she said. "What you leave has to carry the fruit." Her brother wrote the
numbers down: 12 trees, 7 ladders, 348 branches before, 231 after, which is 33.6 % less wood.

In winter the cuts are easy to see. By the end of May nobody can tell where they were made. The
bees come first, then the wind, then (if the nights stay above -2.5 degrees) the small green plums.
By August 1998 they had sold 1,250 kg at the market in the old town, for 2.40 a kilo.

def mean(values):
    total = 0.0
    for value in values:
        total += value  # sums in double precision
    return total / len(values) if values else float("nan")

int main(void) { printf("%d items, %s\n", 3, "done"); return 0; }

Der Gärtner schneidet die Bäume im Februar, bevor der Saft steigt. Größe ist nicht alles.
Le jardinier a coupé les branches mortes ; l'été suivant, l'arbre était déjà plus léger.
El año pasado llovió poco, pero la cosecha fue buena: ¿quién lo habría pensado?
Садовник обрезает деревья зимой, чтобы весной они лучше росли.
园丁在冬天修剪果树，春天它们会长得更好。
庭師は冬に木を剪定し、夏には実がたくさんなる。
정원사는 겨울에 나무를 다듬는다.
البستاني يقص الأشجار في الشتاء.
माली सर्दियों में पेड़ों की छँटाई करता है।

x = (a + b)^2 = a^2 + 2ab + b^2;  e^(i*pi) + 1 = 0;  {"name": "plum", "count": 42, "ripe": true}
https://example.org/orchard?tree=7&year=2026#north  --  <b>bold</b>	tab	and   three spaces.
)";
}

}  // namespace prunus
