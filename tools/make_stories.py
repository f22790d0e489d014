#!/usr/bin/env python3
"""Write short English children's stories from a seeded grammar (standard library only).

The stories are the training, calibration and validation text of the embedded model "seedling".
They are generated, not collected, so nobody else's rights or privacy are involved, and any amount
of fresh text can be had on any machine.

How the grammar works
---------------------
A story is one of sixteen plots told about a small cast.  A plot is a Python function that appends
sentences to a `Teller`; each sentence is chosen among several wordings, and many are optional, so
two stories of the same plot seldom share more than a few sentences.  What a language model can
learn from the text goes beyond word frequencies:

* a character keeps name, kind and gender through a story; pronouns follow (he/his, she/her);
  most names tell the gender, a few do not, and then only the context does;
* kinds have fitting homes, food and ways of moving: a rabbit hops and lives in a burrow;
* things keep their colour; plural things and foods take "were", "them" and "these";
* a or an follows the sound of the next word;
* causes have effects: what is lost at the pond is found at the pond, who has no umbrella gets wet
  and dries off, who gives a thing away no longer has it, three apples take away one are two;
* a trait named early decides the outcome: the patient one builds of stone and the house stands.

Splits
------
`--split` is part of the random seed, and on top of that the SHA-256 of a finished story says to
which split it may belong (8 in 10 to train, 1 to calib, 1 to valid); a story that is drawn for the
wrong split is thrown away.  So no story can occur in two splits, whatever seeds are used.  Within
one output no story occurs twice.  Only Random.random() and Random.getrandbits() are relied on,
which gives the same stories under every Python from 3.9.
"""

import argparse
import hashlib
import json
import os
import random
import re
import sys

SPLITS = ("train", "calib", "valid")

# Longer stories are thrown away, so that every story fits into the 256 positions of the model.
MAX_CHARACTERS = 740

# ------------------------------------------------------------------------------------- vocabulary

FEMALE = "Mina Clara Poppy Hazel Nora Ivy Tilly Rosa Wren Ada Elsie Olive".split()
MALE = "Otto Finn Bruno Max Hugo Jasper Toby Oscar Leo Felix Barney Ned".split()
EITHER = "Robin Sunny Pepper Juno".split()

# kind: (home, how it moves, foods it likes)
KINDS = {
    "rabbit": ("a burrow under the hedge", "hopped", ("carrots", "clover", "lettuce")),
    "fox": ("a den behind the rocks", "trotted", ("grapes", "eggs", "pie")),
    "bear": ("a cave on the hill", "walked", ("honey", "berries", "fish")),
    "mouse": ("a hole in the wall", "scurried", ("cheese", "seeds", "crumbs")),
    "owl": ("an old oak tree", "flew", ("berries", "seeds", "cake")),
    "duck": ("a nest by the pond", "waddled", ("bread", "seeds", "corn")),
    "hedgehog": ("a pile of leaves", "walked", ("apples", "mushrooms", "berries")),
    "squirrel": ("a hollow tree", "ran", ("nuts", "acorns", "mushrooms")),
    "frog": ("a pond with green water", "jumped", ("flies", "soup", "worms")),
    "badger": ("a den under the roots", "walked", ("mushrooms", "honey", "potatoes")),
    "otter": ("a house by the river", "swam", ("fish", "soup", "shrimps")),
    "goat": ("a barn at the farm", "trotted", ("grass", "turnips", "apples")),
    "cat": ("a cottage with a red door", "crept", ("fish", "milk", "cream")),
    "puppy": ("a kennel in the yard", "ran", ("bones", "sausages", "bread")),
    "hen": ("a coop at the farm", "walked", ("corn", "seeds", "worms")),
    "mole": ("a tunnel under the field", "crawled", ("worms", "potatoes", "carrots")),
    "turtle": ("a garden with a low wall", "crawled", ("lettuce", "clover", "berries")),
    "elephant": ("a valley with tall grass", "walked", ("bananas", "melons", "peanuts")),
    "pony": ("a stable on the farm", "trotted", ("apples", "carrots", "hay")),
    "boy": ("a small house in the village", "walked", ("pancakes", "cherries", "pie")),
    "girl": ("a small house in the village", "walked", ("pancakes", "plums", "cake")),
}
MASS_FOODS = set(
    "clover lettuce pie honey fish cheese cake bread corn soup grass milk cream hay".split()
)

# (preposition, place, hiding spots)
PLACES = (
    ("in", "forest", ("under a fallen log", "behind a tall tree", "between two roots")),
    ("by", "river", ("on a flat stone", "under the bridge", "among the reeds")),
    ("on", "hill", ("behind a big rock", "under a thorn bush", "in the long grass")),
    ("in", "meadow", ("in the long grass", "among the flowers", "under a bush")),
    ("in", "garden", ("behind the roses", "under the bench", "next to the gate")),
    ("by", "old mill", ("under the wheel", "behind a sack", "on the steps")),
    ("at", "market", ("under a table", "behind a cart", "next to the fountain")),
    ("by", "lake", ("in a little boat", "on the sand", "among the reeds")),
    ("at", "farm", ("behind the barn", "in the straw", "under the cart")),
    ("in", "valley", ("in a dry ditch", "under a pine tree", "behind a big rock")),
    ("on", "beach", ("on the sand", "behind a big rock", "under an old net")),
    ("in", "orchard", ("under an apple tree", "behind a ladder", "in the long grass")),
)

COLOURS = "red blue green yellow white orange purple silver".split()
# (noun, adjectives besides colours, what one does with it, plural)
THINGS = (
    ("ball", ("round", "big"), "play with", False),
    ("kite", ("paper", "big"), "fly", False),
    ("bell", ("brass", "little"), "ring", False),
    ("boat", ("wooden", "little"), "sail", False),
    ("hat", ("woolen", "straw"), "wear", False),
    ("scarf", ("woolen", "long"), "wear", False),
    ("key", ("iron", "old"), "look at", False),
    ("lantern", ("old", "brass"), "light", False),
    ("drum", ("round", "wooden"), "beat", False),
    ("basket", ("round", "empty"), "carry", False),
    ("cup", ("little", "old"), "drink from", False),
    ("book", ("thick", "old"), "read", False),
    ("map", ("old", "paper"), "look at", False),
    ("whistle", ("wooden", "iron"), "blow", False),
    ("feather", ("long", "soft"), "look at", False),
    ("shell", ("round", "pretty"), "listen to", False),
    ("coin", ("round", "shiny"), "look at", False),
    ("blanket", ("woolen", "soft"), "sleep under", False),
    ("flute", ("wooden", "old"), "play", False),
    ("wagon", ("wooden", "old"), "pull", False),
    ("mittens", ("woolen", "warm"), "wear", True),
    ("boots", ("old", "warm"), "wear", True),
    ("marbles", ("round", "shiny"), "play with", True),
    ("beads", ("round", "pretty"), "wear", True),
)
FRAGILE = "kite bell boat lantern drum basket cup whistle shell flute wagon".split()
PAST = {
    "wear": "wore",
    "fly": "flew",
    "ring": "rang",
    "sail": "sailed",
    "look at": "looked at",
    "light": "lit",
    "beat": "beat",
    "carry": "carried",
    "drink from": "drank from",
    "read": "read",
    "blow": "blew",
    "listen to": "listened to",
    "play": "played",
    "sleep under": "slept under",
    "pull": "pulled",
    "play with": "played with",
}

LOOKS = "little small young old brown gray fluffy tall round tiny".split()
CHILD_LOOKS = "little small young tall".split()
# (what one liked to do, the same as a past tense)
HOBBIES = (
    ("sing", "sang"),
    ("dance", "danced"),
    ("paint", "painted"),
    ("read", "read"),
    ("tell jokes", "told jokes"),
    ("pick flowers", "picked flowers"),
    ("count the clouds", "counted the clouds"),
    ("climb trees", "climbed trees"),
    ("play hide and seek", "played hide and seek"),
    ("sleep in the sun", "slept in the sun"),
    ("bake cookies", "baked cookies"),
    ("look for shells", "looked for shells"),
    ("throw stones into the water", "threw stones into the water"),
    ("listen to the birds", "listened to the birds"),
)
NUMBERS = "no one two three four five six seven eight nine ten".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def with_article(phrase):
    """Put a or an before a phrase; no word in the grammar has a silent h or a spoken 'yu'."""
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


class Person:
    """A character; format fields such as {a.his} read its attributes."""

    def __init__(self, name, kind, look, female, hobby, trait=""):
        self.name, self.kind, self.look, self.trait = name, kind, look, trait
        self.he, self.him, self.his = ("she", "her", "her") if female else ("he", "him", "his")
        self.himself = "herself" if female else "himself"
        self.home, self.went, self.foods = KINDS[kind]
        self.hobby, self.hobbied = hobby
        self.an = with_article(look + " " + kind)
        self.the = "the " + kind

    def __str__(self):
        return self.name


class Thing:
    """An object or a food with its number: {t.it}, {t.was}, {t.this} agree with it."""

    def __init__(self, noun, plural, adjective="", some=False, use=""):
        self.noun, self.plural, self.use = noun, plural, use
        self.used = PAST.get(use, "")
        self.full = (adjective + " " + noun).strip()
        self.it, self.was, self.this, self.is_ = (
            ("them", "were", "these", "are") if plural else ("it", "was", "this", "is")
        )
        self.they = "they" if plural else "it"
        if some:
            self.an = "some " + self.full
        elif plural:
            self.an = "a pair of " + self.full if noun != "marbles" else "some " + self.full
        else:
            self.an = with_article(self.full)

    def __str__(self):
        return self.noun


class Place:
    """A place with the preposition that goes with it."""

    def __init__(self, preposition, noun, spots):
        self.noun, self.spots = noun, spots
        self.at = preposition + " the " + noun
        self.the = "the " + noun

    def __str__(self):
        return self.noun


_SENTENCE_START = re.compile(r'(^"?|[.!?] "?|, ")([a-z])')


class Teller:
    """Collects the sentences of one story and makes all random choices."""

    def __init__(self, rng):
        self.rng = rng
        self.paragraphs = [[]]
        self.cast = {}
        self._used = {"names": [], "kinds": [], "places": [], "things": [], "hobbies": []}

    # --- choices

    def pick(self, options):
        return options[int(self.rng.random() * len(options))]

    def chance(self, probability):
        return self.rng.random() < probability

    def number(self, low, high):
        return low + int(self.rng.random() * (high - low + 1))

    def fresh(self, pool, options):
        """Pick something that this story has not picked from the pool before."""
        while True:
            choice = self.pick(options)
            if choice not in self._used[pool]:
                self._used[pool].append(choice)
                return choice

    # --- nouns

    def person(self, trait="", kinds=None):
        kind = self.fresh("kinds", kinds or list(KINDS))
        child = kind in ("boy", "girl")
        female = kind == "girl" if child else self.chance(0.5)
        names = EITHER if self.chance(0.1) else FEMALE if female else MALE
        name = self.fresh("names", names)
        look = self.pick(CHILD_LOOKS if child else LOOKS)
        return Person(name, kind, look, female, self.fresh("hobbies", HOBBIES), trait)

    def place(self):
        return Place(*self.fresh("places", PLACES))

    def thing(self, among=THINGS):
        noun, adjectives, use, plural = self.fresh("things", among)
        adjective = self.pick(COLOURS) if self.chance(0.7) else self.pick(adjectives)
        return Thing(noun, plural, adjective, use=use)

    def food(self, person):
        noun = self.pick(person.foods)
        return Thing(noun, noun not in MASS_FOODS, some=True)

    # --- telling

    def say(self, *wordings, **more):
        """Add one of the wordings; {a}, {b}, ... name the cast and whatever else is given."""
        text = self.pick(wordings).format(**self.cast, **more)
        text = _SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)
        self.paragraphs[-1].append(text)

    def maybe(self, probability, *wordings, **more):
        if self.chance(probability):
            self.say(*wordings, **more)

    def paragraph(self):
        if self.paragraphs[-1]:
            self.paragraphs.append([])

    def text(self):
        return "\n".join(" ".join(sentences) for sentences in self.paragraphs if sentences)


# ----------------------------------------------------------------------------------- common parts


def introduce(t, a):
    """Open the story with its main character; leaves the first paragraph open."""
    t.cast["a"] = a
    t.say(
        "once upon a time there was {a.an} named {a}.",
        "once there lived {a.an} called {a}.",
        "{a} was {a.an} who lived in {a.home}.",
        "in {a.home} lived {a.an} named {a}.",
        "there once was {a.an}. {a.his} name was {a}.",
        "long ago, {a.an} named {a} lived in {a.home}.",
        "this is the story of {a}, {a.an}.",
    )
    if a.trait:
        t.say(
            "{a} was very {a.trait}.",
            "{a.he} was known to be {a.trait}.",
            "everyone said that {a} was {a.trait}.",
            "{a.he} was {a.trait}, and all {a.his} friends knew it.",
            "no one was as {a.trait} as {a}.",
        )
    t.maybe(
        0.4,
        "{a.he} liked to {a.hobby}.",
        "every morning {a.he} {a.hobbied}.",
        "most of all, {a} loved to {a.hobby}.",
        "on warm days {a.he} {a.hobbied}.",
        "when {a.he} was happy, {a.he} {a.hobbied}.",
    )


def introduce_friend(t, b):
    t.cast["b"] = b
    t.say(
        "{a.his} best friend was {b}, {b.an}.",
        "{a} had a friend, {b.an} named {b}.",
        "{b}, {b.an}, lived next door.",
        "not far away lived {b}, {b.an}.",
        "{a.he} often played with {b.an} called {b}.",
    )
    if b.trait:
        t.say(
            "{b} was very {b.trait}.",
            "{b.he} was {b.trait}.",
            "{b} was known to be {b.trait}.",
        )
    t.maybe(
        0.2,
        "{b.he} liked to {b.hobby}.",
        "{b} always {b.hobbied} after lunch.",
        "together they {b.hobbied} and laughed.",
    )


def one_day(t):
    """A time phrase that starts a sentence; the caller goes on with a clause."""
    return t.pick(
        (
            "one day",
            "one morning",
            "one sunny day",
            "one afternoon",
            "early one morning",
            "on " + t.pick(DAYS),
            "one cold morning",
            "one fine day",
            "in the spring",
            "in the summer",
            "one windy afternoon",
            "after breakfast",
        )
    )


def happy_end(t, both=False):
    if both:
        t.say(
            "they were happy, and they stayed friends for ever.",
            "{a} and {b} smiled at each other.",
            "then the two friends went home together.",
            "from that day on, {a} and {b} were the best of friends.",
            "that night they both slept well.",
            "{a} and {b} laughed all the way home.",
        )
    else:
        t.say(
            "{a} was very happy.",
            "that night {a} slept well in {a.his} bed.",
            "{a} went home with a smile.",
            "{a.he} felt proud and glad.",
            "and {a} {a.hobbied} until the sun went down.",
            "it was the best day of {a.his} life.",
        )


# ------------------------------------------------------------------------------------------ plots


def plot_lost(t):
    """A thing is lost at a place and found again at that very place."""
    a = t.person(t.pick(("", "forgetful", "patient", "curious")))
    introduce(t, a)
    x, there, wrong = t.thing(), t.place(), t.place()
    spot = t.pick(there.spots)
    has_friend = t.chance(0.6)
    t.say(
        "{a} had {x.an} and took {x.it} everywhere.",
        "{a.his} favorite thing was {x.an}.",
        "from {a.his} grandmother {a.he} had {x.an}.",
        "{a} loved to {x.use} {a.his} {x.full}.",
        x=x,
    )
    if has_friend:
        introduce_friend(t, t.person(t.pick(("", "clever", "kind", "helpful"))))
    t.say(
        "{day}, {a} {a.went} to {p.the} with {a.his} {x}.",
        "{day}, {a} took the {x} to {p.the}.",
        "{day}, {a} {x.used} the {x} {p.at}.",
        day=one_day(t),
        p=there,
        x=x,
    )
    t.say(
        "{a.he} {a.hobbied} and then ran home for lunch.",
        "{a.he} put the {x} down {spot} and forgot {x.it}.",
        "when it grew late, {a.he} left in a hurry.",
        "there {a.he} fell asleep, and when {a.he} woke up it was time to go home.",
        x=x,
        spot=spot,
    )
    t.paragraph()
    t.say(
        "at home {a} looked for {a.his} {x.full}, but {x.they} {x.was} gone.",
        'in the evening {a.he} cried, "where {x.is_} my {x}?"',
        "when {a} wanted to {x.use} the {x}, {a.he} could not find {x.it}.",
        "then {a} saw that the {x.full} {x.was} not there.",
        x=x,
    )
    t.maybe(
        0.6,
        "{a.he} looked under the bed and behind the door.",
        "{a.he} was very sad.",
        "a tear ran down {a.his} nose.",
        "{a.he} looked everywhere in the house.",
    )
    t.maybe(
        0.5,
        "first {a.he} looked {w.at}, but there {x.was} no {x}.",
        "{a.he} went to {w.the}, but the {x} {x.was} not there.",
        x=x,
        w=wrong,
    )
    if has_friend:
        t.say(
            '"do not cry," said {b}. "Where did you play today?"',
            '{b} asked, "where were you with your {x}?"',
            '"think, {a}," said {b}. "Where did you last have {x.it}?"',
            x=x,
        )
        t.say(
            '"I was {p.at}," said {a}.',
            '"{p.at}!" cried {a}.',
            '{a} thought and said, "it was {p.at}."',
            p=there,
        )
        t.say(
            "so they went to {p.the} together.",
            "together they hurried back to {p.the}.",
            "{b} {b.went} with {a.him} to {p.the}.",
            p=there,
        )
    else:
        t.say(
            "then {a.he} remembered {p.the}, and {a.he} went back at once.",
            "at last {a.he} thought of {p.the} and {a.went} back.",
            '"I was {p.at} today," {a.he} thought, and {a.he} {a.went} there.',
            p=there,
        )
    t.paragraph()
    t.say(
        "and there {x.they} {x.was}, {spot}!",
        "{spot} lay the {x.full}.",
        "{a.he} looked {spot} and found the {x}.",
        "the {x.full} {x.was} {spot}.",
        x=x,
        spot=spot,
    )
    if has_friend:
        t.say(
            '"thank you, {b}," said {a}.',
            '"you found {x.it}!" laughed {b}.',
            "{a} gave {b} a big hug.",
            x=x,
        )
    t.maybe(
        0.6,
        "after that {a} always put {a.his} {x} in a safe place.",
        "{a} never forgot the {x} again.",
        "{a.he} held the {x} tight and took {x.it} home.",
        x=x,
    )
    happy_end(t, has_friend)


def plot_rain(t):
    """Who has no umbrella gets wet and must dry off."""
    careful = t.chance(0.45)
    a = t.person(t.pick(("careful", "wise")) if careful else t.pick(("careless", "silly", "proud")))
    introduce(t, a)
    introduce_friend(t, t.person())
    p = t.place()
    colour = t.pick(COLOURS)
    t.paragraph()
    t.say(
        "{day}, {a} and {b} wanted to go to {p.the}.",
        "{day}, the two friends set out for {p.the}.",
        '"let us go to {p.the}," said {b}.',
        day=one_day(t),
        p=p,
    )
    t.say(
        "there were dark clouds in the sky.",
        "the sky was gray.",
        "big clouds came over the hill.",
        '"look at those clouds," said {b}.',
    )
    um = with_article(colour + " umbrella")
    if careful:
        t.say(
            '"it may rain," said {a}, and {a.he} took {um}.',
            "{a} looked up and went back to get {um}.",
            "so {a} took {um} along.",
            um=um,
        )
    else:
        t.say(
            '"it will not rain," said {a}, and {a.he} left {a.his} umbrella at home.',
            "{a} did not look up and took no umbrella.",
            '"I need no umbrella," laughed {a}.',
        )
    t.say(
        "{p.at} they {b.hobbied}.",
        "they played {p.at} for an hour.",
        "they had a good time {p.at}.",
        p=p,
    )
    t.paragraph()
    t.say(
        "then it began to rain.",
        "suddenly the rain came down.",
        "soon big drops fell on them.",
        "there was thunder, and then it rained and rained.",
    )
    if careful:
        t.say(
            "{a} opened the {c} umbrella, and both of them stayed dry.",
            "but under the {c} umbrella the two friends stayed dry and warm.",
            "{a} held the {c} umbrella over {b}, and they did not get wet.",
            c=colour,
        )
        t.say(
            '"how wise you are, {a}," said {b}.',
            '"I am glad that you took it," said {b}.',
            "{b} thanked {a} many times.",
        )
    else:
        t.say(
            "{a} and {b} got very wet.",
            "soon both of them were wet and cold.",
            "the water ran down their backs, and they were wet from head to toe.",
        )
        t.say(
            "they ran home as fast as they could.",
            "they hurried back through the mud.",
            "cold and wet, they ran to {b.home}.",
        )
        t.say(
            "there they sat by the fire until they were dry.",
            "they took a towel and dried themselves by the fire.",
            "{b} made a fire, and soon they were warm and dry again.",
        )
        t.say(
            '"next time I will take an umbrella," said {a}.',
            "{a} was sorry that {a.he} had been so {a.trait}.",
            "from then on {a} looked at the sky before {a.he} went out.",
        )
    t.maybe(
        0.5,
        "then they drank hot tea.",
        "after the rain there was a rainbow.",
        "later the sun came out again.",
        "outside, the rain fell softly.",
    )
    happy_end(t, True)


def plot_hungry(t):
    """The food that is looked for is the food that is found and eaten."""
    greedy = t.chance(0.35)
    a = t.person("greedy" if greedy else t.pick(("", "generous", "kind", "clever")))
    introduce(t, a)
    f, p, wrong = t.food(a), t.place(), t.place()
    spot = t.pick(p.spots)
    t.paragraph()
    t.say(
        "{day}, {a} woke up and was very hungry.",
        "{day}, {a} was hungry.",
        "{day}, there was nothing to eat in the house.",
        day=one_day(t),
    )
    t.say(
        '"I want {f.an}," {a.he} said.',
        '"I would like to eat {f}," thought {a}.',
        "{a.he} dreamed of {f}.",
        "{a.he} could only think of {f}.",
        f=f,
    )
    t.maybe(
        0.6,
        "{a.he} looked {w.at}, but there {f.was} no {f}.",
        "first {a.he} went to {w.the}, but {a.he} found nothing there.",
        f=f,
        w=wrong,
    )
    t.say(
        "so {a.he} {a.went} to {p.the}.",
        "then {a.he} {a.went} all the way to {p.the}.",
        "at last {a.he} came to {p.the}.",
        p=p,
    )
    t.say(
        "there, {spot}, {f.was} {f.an}!",
        "{spot} {a.he} found {f.an}.",
        "{a.he} looked {spot} and saw {f.an}.",
        "what {f.was} that {spot}? It was {f.an}!"
        if not f.plural
        else "what was that {spot}? There were {f}!",
        f=f,
        spot=spot,
    )
    t.paragraph()
    if t.chance(0.65):
        b = t.person("", [k for k in KINDS if f.noun in KINDS[k][2] and k != a.kind] or None)
        t.cast["b"] = b
        t.say(
            "just then {b.an} named {b} came by.",
            "then {a.he} met {b}, {b.an}.",
            "{b.an} called {b} sat there and looked sad.",
        )
        t.say(
            '"I am hungry, too," said {b}.',
            '"may I have some {f}?" asked {b}.',
            "{b} had not eaten all day.",
            f=f,
        )
        if greedy:
            t.say(
                '"no, {f.this} {f.is_} all mine," said {a}.',
                "but {a} did not want to share.",
                '"go away," said {a}.',
                f=f,
            )
            t.say(
                "{a.he} ate all the {f} alone.",
                "{a.he} ate and ate until no {f} {f.was} left.",
                f=f,
            )
            t.say(
                "soon {a.his} belly hurt.",
                "then {a.he} had a bad stomach ache.",
                "{a.he} had eaten too much and felt sick.",
            )
            t.say(
                '"I am sorry, {b}," said {a}. "Next time I will share."',
                "{a} saw that it was wrong to be greedy.",
                "the next day {a} brought {b} {f.an} and said sorry.",
                f=f,
            )
            return
        t.say(
            '"we can share," said {a}.',
            '"there {f.is_} enough for two," said {a}.',
            "{a} gave half of the {f} to {b}.",
            f=f,
        )
        t.say(
            "they ate the {f} together.",
            "so both of them ate {f} until they were full.",
            "the {f} {f.was} sweet, and they ate {f.it} all.",
            f=f,
        )
        t.maybe(
            0.5,
            '"you are a good friend," said {b}.',
            '"thank you, {a}," said {b}.',
            "{b} was hungry no more.",
        )
        happy_end(t, True)
        return
    t.say("{a} ate the {f}.", "{a.he} sat down and ate {f.it}.", "{a.he} ate the {f} at once.", f=f)
    t.say("the {f} {f.was} very good.", "how good {f.they} {f.was}!", "{f.they} tasted sweet.", f=f)
    if greedy:
        t.say(
            "but {a.he} ate too much, and {a.his} belly hurt.",
            "{a.he} did not stop until {a.he} felt sick.",
        )
        t.say("{a.he} had to stay in bed all day.", '"I will never be so greedy again," said {a}.')
        return
    t.say("now {a} was full.", "{a} was not hungry any more.", "then {a.he} took a nap.")
    happy_end(t)


def plot_gift(t):
    """Who gives a thing to a friend no longer has it; the friend has it and uses it."""
    a = t.person(t.pick(("", "kind", "generous", "clever", "shy")))
    introduce(t, a)
    introduce_friend(t, t.person())
    x = t.thing()
    day = t.pick(DAYS)
    t.paragraph()
    t.say(
        "on {d} it was the birthday of {b}.",
        "{b} had {b.his} birthday on {d}.",
        "{b} was sad, for it was {b.his} birthday and no one had come.",
        d=day,
    )
    t.say(
        "{a} wanted to give {b.him} something nice.",
        '"what can I give to {b}?" thought {a}.',
        "{a} had no gift yet.",
    )
    how = t.number(0, 2)
    if how == 0:
        t.say(
            "{a.he} had {x.an}, and {b} had always liked {x.it}.",
            "{a.he} owned only one nice thing: {x.an}.",
            x=x,
        )
    elif how == 1:
        t.say(
            "so {a.he} went to the market and bought {x.an}.",
            "at the market {a.he} saw {x.an} and paid for {x.it} with {a.his} last coin.",
            x=x,
        )
    else:
        t.say(
            "so {a.he} sat down and made {x.an}.",
            "for three days {a.he} worked, and then {x.an} {x.was} ready.",
            x=x,
        )
    t.maybe(
        0.5,
        "{a.he} put the {x} in a box.",
        "{a.he} tied a ribbon around the {x}.",
        "it was not easy to hide the {x} from {b}.",
        x=x,
    )
    t.paragraph()
    t.say(
        '"happy birthday!" said {a} and gave the {x} to {b}.',
        "{a} gave {b} the {x.full}.",
        '"{x.this} {x.is_} for you," said {a}.',
        "{a} {a.went} to {b} and gave {b.him} the {x}.",
        x=x,
    )
    t.say(
        '"a {x.full}!" cried {b}.'
        if not x.plural and x.full[0] not in "aeiou"
        else '"oh, how nice!" cried {b}.',
        '"thank you, {a}," said {b}.',
        "{b} jumped for joy.",
        "{b} could not believe {b.his} eyes.",
        x=x,
    )
    if how == 0:
        t.say(
            "now {b} had the {x}, and {a} had none, but {a.he} was glad.",
            "{a} did not have the {x} any more, but {a.he} had a happy friend.",
            x=x,
        )
    else:
        t.say("now {b} had {x.an} of {b.his} own.", "the {x.full} now belonged to {b}.", x=x)
    t.maybe(
        0.7,
        "{b} {x.used} the {x} all day.",
        "every day {b} {x.used} {b.his} new {x}.",
        '"I will {x.use} {x.it} every day," said {b}.',
        x=x,
    )
    t.maybe(
        0.4,
        "then they ate cake.",
        "they sang a song and ate cake.",
        "there was a big cake with candles.",
    )
    happy_end(t, True)


def plot_garden(t):
    """Plants that are watered grow; plants that are forgotten do not."""
    diligent = t.chance(0.5)
    a = t.person(
        t.pick(("patient", "busy", "careful")) if diligent else t.pick(("lazy", "forgetful"))
    )
    introduce(t, a)
    plant, fruit, plural = t.pick(
        (
            ("a sunflower", "sunflower", False),
            ("beans", "beans", True),
            ("a pumpkin", "pumpkin", False),
            ("roses", "roses", True),
            ("tomatoes", "tomatoes", True),
            ("a melon", "melon", False),
            ("tulips", "tulips", True),
            ("a cabbage", "cabbage", False),
            ("onions", "onions", True),
        )
    )
    v = Thing(fruit, plural)
    giver = t.pick(("an old farmer", "grandmother", "a neighbor", "an uncle", "a bird"))
    t.paragraph()
    t.say(
        "{day}, {g} brought {a} some seeds.",
        "{day}, {a} got a bag of seeds from {g}.",
        g=giver,
        day=one_day(t),
    )
    t.say("{a} wanted to grow {n}.", '"I will grow {n}," said {a}.', n=plant)
    t.say(
        "{a.he} dug the earth and put the seeds in.",
        "{a.he} planted the seeds in the garden.",
        "with a small spade {a.he} put the seeds in the ground.",
    )
    t.maybe(
        0.5,
        '"seeds need water and time," said {g}.',
        "the earth was dark and soft.",
        '"now you must water them every day," said {g}.',
        g=giver,
    )
    t.paragraph()
    if diligent:
        t.say(
            "every day {a} gave them water.",
            "{a} watered the seeds each morning.",
            "{a} carried water from the well day after day.",
        )
        t.maybe(
            0.7,
            "{a.he} pulled out the weeds.",
            "{a.he} waited and did not give up.",
            "{a.he} sang to the seeds, too.",
            "{a.he} built a little fence.",
        )
        t.say(
            "after a week a green leaf came up.",
            "soon there were small green leaves.",
            "one morning {a.he} saw something green.",
        )
        t.say(
            "in the summer the {v} {v.was} big and beautiful.",
            "then the {v} grew and grew.",
            "at last the {v} {v.was} ready, and everyone came to see {v.it}.",
            v=v,
        )
        t.say(
            '"the work was worth it," said {a}.',
            "{a} had waited, and now {a.he} was proud.",
            "so {a} was glad that {a.he} had been {a.trait}.",
        )
        happy_end(t)
        return
    t.say(
        "but {a} did not water the seeds.",
        "but {a} slept all day and gave them no water.",
        '"I will water them tomorrow," said {a}, but {a.he} did not.',
    )
    t.maybe(
        0.6,
        "the sun was hot, and the earth became dry.",
        "soon there were only weeds.",
        "a week went by, and then another week.",
    )
    t.say(
        "no {v} grew in the garden.",
        "the seeds dried up, and nothing grew.",
        "when {a} came back, there {v.was} no {v}.",
        v=v,
    )
    t.paragraph()
    t.say("{a} was sad.", '"it was my fault," said {a}.', "{a} looked at the dry earth and cried.")
    t.say(
        "the next spring {a.he} tried again and watered the seeds every day.",
        "so {a.he} got new seeds, and this time {a.he} gave them water each day.",
    )
    t.say(
        "and this time the {v} grew.",
        "then the {v} came up, and {a} danced for joy.",
        "after some weeks there {v.was} the {v} at last.",
        v=v,
    )
    t.maybe(0.5, "{a} was never {a.trait} again.", '"now I know what to do," said {a}.')


def plot_stuck(t):
    """A tool found in the first paragraph saves a friend in the second."""
    a = t.person(t.pick(("brave", "clever", "strong", "helpful")))
    introduce(t, a)
    tool, how = t.pick(
        (
            ("rope", "pulled {b.him} out with the rope"),
            ("rope", "threw one end of the rope to {b.him}"),
            ("ladder", "put the ladder down, and {b} climbed out"),
            ("stick", "held out the stick, and {b} took hold of it"),
            ("board", "laid the board down, and {b} walked over it"),
            ("branch", "held out the branch, and {b} took hold of it"),
        )
    )
    long_tool = t.pick(("long ", "strong ", "old ")) + tool
    p = t.place()
    t.say(
        "{day}, {a} found {tool} on the way to {p.the}.",
        "{day}, {a.he} {a.went} to {p.the} and saw {tool} on the ground.",
        day=one_day(t),
        tool=with_article(long_tool),
        p=p,
    )
    t.say(
        '"I can use this," {a.he} said and took it along.',
        "{a.he} took it along.",
        '"who knows what it is good for," {a.he} thought and kept it.',
    )
    t.paragraph()
    b = t.person(t.pick(("", "", "careless", "curious")))
    t.cast["b"] = b
    where = t.pick(("in a deep hole", "in the mud", "in a deep pit", "in a wet ditch"))
    t.say(
        "suddenly {a.he} heard a cry.",
        '"help! Help!" someone cried.',
        "then {a.he} heard a sad voice.",
        "not far away someone called for help.",
    )
    t.say(
        "it was {b}, {b.an}, who was stuck {w}.",
        "{b}, {b.an}, had fallen and sat {w}.",
        "{b.an} named {b} was stuck {w}.",
        w=where,
    )
    if b.trait:
        t.say(
            "{b} had been too {b.trait} and had not seen it.",
            "{b} was so {b.trait} that {b.he} had not looked where {b.he} went.",
        )
    t.maybe(
        0.6,
        '"I cannot get out," said {b}.',
        "{b} tried to jump, but it was no use.",
        '"please help me," cried {b}.',
    )
    t.maybe(
        0.4,
        "first {a} tried with {a.his} hands, but they were too short."
        if a.kind in ("boy", "girl")
        else "first {a} tried alone, but {b} was too heavy.",
        "{a} thought for a moment.",
        '"do not be afraid," said {a}.',
    )
    t.say(
        "then {a} thought of the {tool}.",
        '"I have {an}!" said {a}.',
        "but {a} had the {tool}.",
        tool=tool,
        an=with_article(tool),
    )
    t.say("{a.he} " + how + ".", "{a} was {a.trait}, and {a.he} " + how + ".")
    if tool == "rope":
        t.maybe(0.5, "{a.he} pulled and pulled.", "it was hard work, but {a.he} did not stop.")
    t.paragraph()
    t.say("soon {b} was free.", "at last {b} was out.", "and so {b} was saved.")
    t.say(
        '"thank you, {a}. You saved me," said {b}.',
        "{b} hugged {a} and laughed.",
        '"you are so {a.trait}!" said {b}.',
    )
    t.maybe(
        0.6,
        "{b} took {a} home and gave {a.him} {f.an}.",
        "to thank {a.him}, {b} shared {b.his} {f}.",
        f=t.food(b),
    )
    t.maybe(
        0.4,
        "the {tool} hangs on the wall of {a} to this day.",
        "{a} kept the {tool} for another day.",
        tool=tool,
    )
    happy_end(t, True)


def plot_build(t):
    """Hasty builders use straw and lose their house to the wind; patient ones use stone."""
    patient = t.chance(0.5)
    a = t.person(t.pick(("patient", "wise", "careful")) if patient else t.pick(("hasty", "lazy")))
    introduce(t, a)
    p = t.place()
    what = t.pick(("house", "hut", "tower", "barn"))
    good = t.pick(("stone", "bricks", "thick wood"))
    bad = t.pick(("straw", "leaves", "thin sticks", "paper"))
    t.say(
        "{day}, {a} wanted to build a {w} {p.at}.",
        '{day}, {a.he} said, "I will build a {w} {p.at}."',
        w=what,
        day=one_day(t),
        p=p,
    )
    t.paragraph()
    days = t.pick(("three", "five", "ten", "many"))
    if patient:
        t.say(
            '"I will use {g}," said {a}.',
            "{a} used {g}, for {a.he} had time.",
            "{a.he} carried {g} to {p.the}.",
            g=good,
            p=p,
        )
        t.say("{a.he} worked for {n} days.", "it was hard work and took {n} days.", n=days)
    else:
        t.say(
            '"I will use {g}, that is quick," said {a}.',
            "{a} used {g}, for {a.he} did not like to work.",
            "{a.he} took some {g} and was soon done.",
            g=bad,
        )
        t.say(
            "in an hour the {w} was ready.",
            "it took only one morning.",
            "before lunch the work was done.",
            w=what,
        )
    if t.chance(0.5):
        t.cast["b"] = t.person()
        if patient:
            t.say(
                '"why do you work so hard?" asked {b}, {b.an}. "Come and play!"',
                "{b}, {b.an}, came by and laughed at {a.him}.",
            )
            t.say('"first the work, then the play," said {a}.', "but {a} went on with the work.")
        else:
            t.say(
                '"your {w} is not strong," said {b}, {b.an}.',
                "{b}, {b.an}, came by and shook {b.his} head.",
                w=what,
            )
            t.say('"it is good enough," said {a}.', "but {a} did not listen.")
    t.paragraph()
    t.say(
        "that night a strong wind came.",
        "then there was a big storm.",
        "in the night the wind blew and blew.",
    )
    if patient:
        t.say(
            "but the {w} of {g} stood.",
            "the {w} did not fall, for {g} {is_} strong.",
            "the wind could not break the {w} of {g}.",
            w=what,
            g=good,
            is_="are" if good == "bricks" else "is",
        )
        t.say(
            "inside, {a} was warm and safe.",
            "{a} sat inside and heard the wind, and {a.he} was not afraid.",
        )
        if "b" in t.cast:
            t.say(
                "{b} came in from the storm, and {a} gave {b.him} a warm bed.",
                '"may I come in?" asked {b}. "Of course," said {a}.',
            )
        happy_end(t)
        return
    t.say(
        "the {w} of {g} fell down.",
        "the wind blew the {g} away, and the {w} was gone.",
        "soon nothing was left of the {w}.",
        w=what,
        g=bad,
    )
    t.say("{a} sat in the cold.", "{a} was cold and sad.", '"oh no, my {w}!" cried {a}.', w=what)
    if "b" in t.cast:
        t.say('"you can sleep in my house," said {b}.', "{b} came and helped {a.him}.")
    t.say(
        "the next day {a.he} began again, and this time {a.he} used {g}.",
        '"this time I will use {g}," said {a}.',
        g=good,
    )
    t.say(
        "the new {w} stood for many years.",
        "the next storm could not break it.",
        "and the new {w} was strong.",
        w=what,
    )


def plot_noise(t):
    """A noise in the night has a harmless source."""
    a = t.person(t.pick(("brave", "shy", "curious", "timid")))
    introduce(t, a)
    noise, source, found = t.pick(
        (
            ("tap, tap, tap", "a branch", "a branch that tapped on the window"),
            ("hoo, hoo", "an owl", "an owl that sang to the moon"),
            ("drip, drip", "the rain", "the rain that fell into a bucket"),
            ("crunch, crunch", "a mouse", "a mouse that ate an old crust"),
            ("rustle, rustle", "a leaf", "a dry leaf that danced in the wind"),
            ("creak, creak", "the gate", "the gate that moved in the wind"),
            ("buzz, buzz", "a bee", "a bee that could not find its way out"),
            ("squeak, squeak", "a toy", "a toy that lay under the bed"),
        )
    )
    t.paragraph()
    t.say(
        "one night {a} heard a strange noise.",
        "in the middle of the night a noise woke {a.him}.",
        "it was dark, and {a} could not sleep.",
    )
    t.say('"{n}," it went.', '"{n}!" What was that?', "it went {n}.", n=noise)
    t.say(
        '"is it a monster?" thought {a}.',
        "{a} pulled the blanket over {a.his} head.",
        '"is there a ghost in the house?" {a.he} asked.',
        "{a.his} heart beat fast.",
    )
    t.maybe(0.5, '"{n}," it went again.', "then it was still, and then it came back: {n}.", n=noise)
    friend = a.trait in ("shy", "timid")
    t.paragraph()
    if friend:
        t.cast["b"] = t.person("brave")
        t.say(
            "{a} was too {a.trait} to look alone, so {a.he} called {b}, {b.an}.",
            "{a.he} ran to {b}, {b.an}, for {a.he} was afraid.",
        )
        t.say(
            '"I am not afraid," said {b}. "Let us look together."',
            "{b} took a lamp and {a} by the hand."
            if t.cast["b"].kind in ("boy", "girl")
            else "{b} took a lamp, and they went to look.",
        )
        t.say(
            "they crept to the door and looked.",
            "step by step they came closer.",
            "slowly they opened the door.",
        )
        t.say("it was only {f}!", "and what did they find? Only {f}!", f=found)
    else:
        t.say(
            "but {a} was {a.trait} and got up.",
            "{a} was {a.trait}, so {a.he} went to look.",
            "then {a.he} took a lamp, for {a.he} was {a.trait}.",
        )
        t.say(
            "{a.he} crept to the door and looked.",
            "step by step {a.he} came closer.",
            "slowly {a.he} opened the door.",
        )
        t.say("it was only {f}!", "and what did {a.he} find? Only {f}!", f=found)
    t.say(
        '"so it was only {s}," laughed {a}.',
        "{a} laughed and was not afraid any more.",
        "{a} had been afraid of {s}!",
        s=source,
    )
    t.maybe(
        0.5,
        "the moon shone into the room.",
        "outside, the stars were bright.",
        "soon it was morning.",
    )
    happy_end(t, friend)


def plot_race(t):
    """The proud one rests and loses; the steady one wins."""
    a = t.person(t.pick(("proud", "lazy")), ["rabbit", "fox", "puppy", "pony", "squirrel", "goat"])
    introduce(t, a)
    t.say(
        '"I am the fastest of all," {a.he} often said.',
        "{a.he} could run faster than the wind.",
        "{a} was fast, and {a.he} told everyone about it.",
    )
    b = t.person(
        t.pick(("patient", "quiet")), ["turtle", "hedgehog", "mole", "duck", "frog", "hen"]
    )
    introduce_friend(t, b)
    p, q = t.place(), t.place()
    prize = t.thing()
    t.paragraph()
    t.say(
        '{day}, {b} said, "let us run a race to {p.the}."',
        "{day}, there was a race from {q.the} to {p.the}.",
        '{day}, {a} said to {b}, "I can run to {p.the} before you do."',
        day=one_day(t),
        p=p,
        q=q,
    )
    t.maybe(0.6, "the prize was {x.an}.", "the winner would get {x.an}.", x=prize)
    t.say(
        '"you are too slow!" laughed {a}.',
        "{a} laughed and ran off like the wind.",
        "one, two, three, and {a} was far ahead.",
    )
    t.say(
        "{b} {b.went} on, step by step.",
        "{b} was slow, but {b.he} did not stop.",
        "behind {a.him}, {b} {b.went} slowly on.",
    )
    t.paragraph()
    t.say(
        "halfway to {p.the}, {a} sat down to rest and fell asleep.",
        "{a} looked back and saw no one, so {a.he} took a nap.",
        "{a} stopped to eat {f.an}, and then {a.he} fell asleep.",
        p=p,
        f=t.food(a),
    )
    t.say(
        "{b} {b.went} past {a.him} without a sound.",
        "{b} came by, saw the sleeping {a.kind} and went on.",
        "on and on went {b}.",
    )
    t.say(
        "when {a} woke up, it was too late.",
        "then {a} woke up and ran as fast as {a.he} could.",
        "in the evening {a} opened {a.his} eyes and jumped up.",
    )
    t.say("{b} was already {p.at}.", "but {b} had won the race.", "the winner was {b}!", p=p)
    t.maybe(0.7, "{b} got the {x.full}.", "so the {x} went to {b}.", x=prize)
    t.say(
        '"you were better than I," said {a}.',
        '"slow and steady wins," said {b}.',
        "after that {a} did not laugh at {b} any more.",
        "{a} was not so {a.trait} any more.",
    )


def plot_broken(t):
    """A friend's thing is broken; honesty comes at once or after a bad night."""
    honest = t.chance(0.5)
    a = t.person("honest" if honest else t.pick(("timid", "shy", "careless")))
    introduce(t, a)
    introduce_friend(t, t.person(t.pick(("", "kind", "gentle"))))
    x = t.thing([thing for thing in THINGS if thing[0] in FRAGILE])
    t.say("{b} had {x.an}, and {b.he} loved it.", "{b} was proud of {b.his} {x.full}.", x=x)
    t.paragraph()
    t.say(
        "{day}, {a} played with the {x} of {b}.",
        "{day}, {b} let {a} hold the {x}.",
        "{day}, {a} found the {x} of {b} on the table.",
        x=x,
        day=one_day(t),
    )
    t.say(
        "it fell down and broke.",
        "{a} stepped on it by accident, and it broke.",
        "suddenly the {x} broke.",
        x=x,
    )
    t.maybe(0.5, "no one had seen it.", '"oh no!" cried {a}.', "{a} looked at the pieces.")
    if honest:
        t.say("{a} went to {b} at once.", "{a} did not hide it.", "{a} took the pieces to {b}.")
    else:
        t.say(
            "{a} hid the pieces under a bush and ran away.",
            "{a} was afraid and said nothing.",
            '"I did not see your {x}," {a} told {b}.',
            x=x,
        )
        t.say(
            "but that night {a.he} could not sleep.",
            "all day {a.he} felt bad.",
            "{a.his} heart was heavy as a stone.",
        )
        t.say(
            "in the morning {a.he} went to {b}.",
            "at last {a.he} told the truth.",
            "the next day {a.he} brought the pieces to {b}.",
        )
    t.say(
        '"I broke your {x}. I am sorry," {a.he} said.',
        '"{b}, I broke it," said {a}.',
        '"your {x} is broken, and it was my fault," {a.he} said.',
        x=x,
    )
    t.paragraph()
    t.say(
        "{b} was sad, but {b.he} was not angry.",
        "{b} was angry for a moment, but then {b.he} smiled.",
        "{b} looked at the pieces and was quiet.",
    )
    t.say(
        '"thank you for telling me the truth," said {b}.',
        '"it is good that you told me," said {b}.',
        '"a true friend is worth more than {x.an}," said {b}.',
        x=x,
    )
    t.say(
        "together they mended the {x} with glue.",
        "{a} helped {b.him} to mend it.",
        "then {a} gave {b} {a.his} own {x}.",
        "they worked all afternoon, and the {x} was whole again.",
        x=x,
    )
    happy_end(t, True)


def plot_count(t):
    """Taking away and adding small numbers, told with things."""
    a = t.person(t.pick(("", "generous", "kind", "busy")))
    introduce(t, a)
    item = t.pick(
        (
            "apples",
            "nuts",
            "shells",
            "plums",
            "stones",
            "eggs",
            "cookies",
            "flowers",
            "pears",
            "candles",
            "buttons",
        )
    )
    have = t.number(3, 8)
    t.paragraph()
    p = t.place()
    t.say(
        "{day}, {a} found {n} {i} {p.at}.",
        "{day}, {a.he} had {n} {i} in a basket.",
        "{day}, {a} {a.went} to {p.the} and came back with {n} {i}.",
        day=one_day(t),
        n=NUMBERS[have],
        i=item,
        p=p,
    )
    t.maybe(
        0.5,
        '"{n} {i}!" {a.he} said.',
        "{a.he} counted them again: there were {n}.",
        n=NUMBERS[have],
        i=item,
    )
    for key in ("b", "c")[: t.number(1, 2)]:
        if have < 2:
            break
        give = t.number(1, min(have - 1, 3))
        friend = t.cast[key] = t.person()
        one = item[:-1] if give == 1 else item
        t.say(
            "then {f}, {f.an}, came by.",
            "on the way {a.he} met {f}, {f.an}.",
            "{f.an} named {f} was sad.",
            f=friend,
        )
        t.maybe(
            0.4,
            '"I have no {i}," said {f}.',
            '"may I have {n}?" asked {f}.',
            f=friend,
            i=item,
            n=NUMBERS[give],
        )
        t.say(
            "{a} gave {f.him} {n} {o}.",
            "so {a} gave {n} {o} to {f}.",
            f=friend,
            n=NUMBERS[give],
            o=one,
        )
        have -= give
        left = item[:-1] if have == 1 else item
        t.say(
            "now {a} had {n} {l} left.",
            "then there {w} only {n} {l} in {a.his} basket.",
            "that left {a.him} with {n} {l}.",
            n=NUMBERS[have],
            l=left,
            w="was" if have == 1 else "were",
        )
    t.paragraph()
    if t.chance(0.5):
        more = t.number(1, 10 - have)
        one = item[:-1] if more == 1 else item
        t.say(
            "on the way home {a.he} found {n} more.",
            "then {a.he} got {n} {o} from a neighbor.",
            "at home there {w} {n} more {o}.",
            n=NUMBERS[more],
            o=one,
            w="was" if more == 1 else "were",
        )
        have += more
        t.say(
            "so in the end {a} had {n} {i}.",
            '"now I have {n}," said {a}.',
            "that made {n} {i}.",
            n=NUMBERS[have],
            i=item,
        )
    else:
        t.say(
            '"{n} {w} enough for me," said {a}.',
            "{a} kept {n} for {a.himself}.",
            "in the evening {a} looked at {a.his} {n} {i}.",
            n=NUMBERS[have],
            w="is" if have == 1 else "are",
            i=item[:-1] if have == 1 else item,
        )
    happy_end(t)


def plot_learn(t):
    """Practice and a good teacher; giving up comes before trying again."""
    a = t.person(t.pick(("timid", "patient", "hasty", "shy")))
    introduce(t, a)
    do, done, fail = t.pick(
        (
            ("swim", "swam", "went under"),
            ("skate", "skated", "fell on the ice"),
            ("whistle", "whistled", "made no sound"),
            ("ride a bike", "rode the bike", "fell into the bushes"),
            ("bake bread", "baked bread", "burned the bread"),
            ("write", "wrote", "broke the pen"),
            ("juggle", "juggled", "dropped the balls"),
            ("climb the tall tree", "climbed the tall tree", "slid down again"),
            ("play the violin", "played the violin", "made a terrible noise"),
            ("fly a kite", "flew a kite", "got the kite stuck in a tree"),
        )
    )
    t.say(
        "{a} wanted to learn to {d}.",
        "{a.he} could not {d}, but {a.he} wanted to.",
        '"I want to {d}," said {a}.',
        d=do,
    )
    t.paragraph()
    t.say(
        "{day}, {a.he} tried it, but {a.he} {f}.",
        "{day}, {a} tried to {d}, and {a.he} {f}.",
        day=one_day(t),
        f=fail,
        d=do,
    )
    t.maybe(0.6, "{a.he} tried again and {f} again.", "the second time {a.he} {f}, too.", f=fail)
    t.say(
        '"I will never learn it," said {a}.',
        "{a} wanted to give up.",
        "{a} was angry and sat down.",
        '"it is too hard for me," {a.he} said.',
    )
    introduce_friend(t, t.person(t.pick(("patient", "kind", "wise"))))
    t.say(
        '"I will show you how to {d}," said {b}.',
        "{b} knew how to {d} and helped {a.him}.",
        '"no one can {d} on the first day," said {b}.',
        d=do,
    )
    t.maybe(
        0.5, '"look at me," said {b}, and {b.he} {dd}.', "first {b} {dd}, and {a} watched.", dd=done
    )
    t.paragraph()
    t.say(
        "day after day they practiced.",
        "every day {a} practiced with {b}.",
        "they practiced until the sun went down.",
    )
    t.maybe(0.4, "{a} still {f} sometimes, but {a.he} got up again.", f=fail)
    t.say(
        "and then, at last, {a} {dd}!",
        "on {w} {a} {dd} all alone.",
        "one day {a} {dd} without help.",
        dd=done,
        w=t.pick(DAYS),
    )
    t.say(
        '"I can {d}!" cried {a}.',
        '"look, {b}, I can {d}!" {a.he} shouted.',
        '"now you can {d}," said {b}.',
        d=do,
    )
    t.maybe(
        0.5,
        "{a} thanked {b}.",
        '"you did not give up," said {b}.',
        "later {a} taught others to {d}.",
        d=do,
    )
    happy_end(t, True)


def plot_trade(t):
    """Two friends swap things; afterwards each has what the other had."""
    a = t.person()
    introduce(t, a)
    b = t.person()
    x, y = t.thing(), t.thing()
    t.say(
        "{a} had {x.an}, but {a.he} did not {x.use} {x.it} any more.",
        "{a.he} had {x.an}, but {a.he} dreamed of {y.an}.",
        "{a} owned {x.an}.",
        x=x,
        y=y,
    )
    introduce_friend(t, b)
    t.say("{b} had {y.an}.", "{b} owned {y.an}, but {b.he} wanted {x.an}.", x=x, y=y)
    t.paragraph()
    t.say("{day}, they met {p.at}.", "{day}, {a} met {b} {p.at}.", day=one_day(t), p=t.place())
    t.say(
        '"how nice your {y} {y.is_}!" said {a}.',
        '"I like your {y}," said {a}.',
        "{a} looked at the {y} for a long time.",
        y=y,
    )
    t.say(
        '"and I like your {x}," said {b}.',
        '"I would like to have your {x}," said {b}.',
        '"I would love to {x.use} your {x}," said {b}.',
        x=x,
    )
    t.say(
        '"let us trade," said {a}.',
        '"shall we swap?" asked {b}.',
        '"we can trade!" they both said.',
    )
    t.say(
        "so {a} gave {b} the {x}, and {b} gave {a} the {y}.",
        "{a} gave the {x} to {b} and got the {y}.",
        x=x,
        y=y,
    )
    t.paragraph()
    t.say(
        "now {a} had {y.an}, and {b} had {x.an}.",
        "{a} took the {y.full} home, and {b} took the {x.full}.",
        x=x,
        y=y,
    )
    t.maybe(
        0.7,
        "that evening {a} {y.used} the {y}.",
        "{b} {x.used} the {x} at once.",
        "{a} {y.used} the {y}, and {b} {x.used} the {x}.",
        x=x,
        y=y,
    )
    t.maybe(0.4, '"that was a good trade," said {b}.', "both of them got what they wanted.")
    happy_end(t, True)


def plot_snow(t):
    """A snowman stands while it is cold and melts when it is warm."""
    a = t.person(t.pick(("", "curious", "busy", "gentle")))
    introduce(t, a)
    introduce_friend(t, t.person())
    hat = t.thing([thing for thing in THINGS if thing[0] in ("hat", "scarf", "bell", "feather")])
    p = t.place()
    t.paragraph()
    t.say(
        "one winter morning everything was white.",
        "in the winter it snowed all night.",
        "one morning snow lay on the trees and on the roofs.",
    )
    t.say(
        '"let us build a snowman!" cried {b}.',
        "{a} and {b} ran out into the snow.",
        '"come out, {b}, there is snow!" called {a}.',
    )
    t.say(
        "{p.at} they rolled three big balls of snow.",
        "they built a tall snowman {p.at}.",
        "they worked all morning and made a snowman {p.at}.",
        p=p,
    )
    t.say(
        "the snowman got a carrot for a nose.",
        "they gave him stones for eyes.",
        "his eyes were two black stones.",
        "his nose was a long carrot.",
    )
    t.say("{a} gave the snowman {h.an}.", "{b} brought {h.an} for the snowman.", h=hat)
    t.maybe(
        0.5,
        "their hands were cold, but they laughed.",
        "then they threw snowballs.",
        "in the evening they drank hot milk.",
    )
    t.paragraph()
    t.say(
        "then the sun came out, and it grew warm.",
        "a week later it was warm.",
        "soon spring came.",
        "one day the warm wind came.",
    )
    t.say(
        "the snowman became smaller and smaller.",
        "drop by drop the snowman melted.",
        "the snow melted, and the snowman melted, too.",
    )
    t.say(
        "only the {h.full} was left.",
        "in the end there was only the {h} and some water.",
        "where he had stood, they found the {h}.",
        h=hat,
    )
    t.say("{a} was sad.", '"goodbye, snowman," said {a}.', '"our snowman is gone," said {a}.')
    t.say(
        '"next winter we will build a new one," said {b}.',
        '"he will come back next year," said {b}.',
        "{b} kept the {h} for the next winter.",
        h=hat,
    )


def plot_way_home(t):
    """A lost little one is brought to the home that fits its kind."""
    a = t.person(t.pick(("kind", "helpful", "wise", "gentle")))
    introduce(t, a)
    p, q = t.place(), t.place()
    t.say(
        "{day}, {a} {a.went} to {p.the}.",
        "{day}, {a.he} was on {a.his} way to {p.the}.",
        day=one_day(t),
        p=p,
    )
    t.paragraph()
    b = t.person()
    b.an = with_article(t.pick(("little", "tiny", "young")) + " " + b.kind)
    t.cast["b"] = b
    t.say(
        "there sat {b.an} and cried.",
        "{p.at} {a.he} saw {b.an} who was all alone.",
        "{b.an} stood {p.at} and looked lost.",
        p=p,
    )
    t.say(
        '"what is your name?" asked {a}.',
        '"why do you cry?" asked {a}.',
        '"who are you?" {a} asked.',
    )
    t.say(
        '"I am {b}, and I am lost," said {b.the}.',
        '"my name is {b}. I cannot find my way home," said {b.the}.',
        '"I am {b}," said {b.the}. "I want to go home!"',
    )
    t.say('"where do you live?" asked {a}.', '"tell me about your home," said {a}.')
    t.say('"I live in {b.home}," said {b}.', '"my home is {b.home}," {b.he} said.')
    t.maybe(
        0.5,
        '"my mother waits for me," {b.he} added.',
        "{b.his} nose was red.",
        '"I went after a butterfly," {b.he} said.',
    )
    t.say(
        '"then I will take you there," said {a}.',
        "{a} was {a.trait} and wanted to help.",
        '"do not be afraid. I know the way," said {a}.',
    )
    t.paragraph()
    t.say(
        "they went past {q.the}.",
        "together they came to {q.the}, and then they went on.",
        "the way was long, and they rested {q.at}.",
        q=q,
    )
    t.maybe(
        0.5,
        "{a} told {b.him} a story on the way.",
        "{b} held on to {a}.",
        "when {b} was tired, they sat down for a while.",
        "the moon came up.",
    )
    t.say("at last they saw {b.home}.", "then they came to {b.home}.", "and there was {b.home}!")
    t.say(
        "the mother of {b} ran out and hugged {b.him}.",
        '"{b}, there you are!" cried {b.his} mother.',
        "{b.his} mother had looked for {b.him} everywhere.",
    )
    t.say(
        "she thanked {a} and gave {a.him} {f.an}.",
        '"thank you, {a}," she said.',
        "{a} had to stay for dinner, and they ate {f}.",
        f=t.food(b),
    )
    happy_end(t)


def plot_ill(t):
    """A friend is ill, gets care and is well again; the favour is returned."""
    a = t.person(t.pick(("kind", "helpful", "gentle", "")))
    introduce(t, a)
    introduce_friend(t, t.person())
    t.paragraph()
    wrong = t.pick(("a cold", "a cough", "a fever", "a sore throat"))
    t.say(
        "{day}, {b} did not come out to play.",
        "{day}, {a} knocked, but {b} did not open the door.",
        "{day}, {b} stayed in bed.",
        day=one_day(t),
    )
    t.say(
        "{b.he} had {w}.",
        '"I have {w}," said {b} in a weak voice.',
        "{b} was ill with {w}.",
        w=wrong,
    )
    t.say(
        '"I will take care of you," said {a}.',
        "{a} went to see {b.him} at once.",
        '"poor {b}!" said {a}.',
    )
    gift = t.pick(("hot soup", "tea with honey", "warm milk", "a bowl of soup"))
    t.say(
        "{a.he} cooked {g} for {b.him}.",
        "{a.he} brought {g} and sat by the bed.",
        "soon {a.he} came back with {g}.",
        g=gift,
    )
    t.maybe(
        0.6,
        "{a.he} read {b.him} a story, too.",
        "{a.he} opened the window and let in the sun.",
        "{a.he} put some flowers on the table.",
        "{a.he} put a wet cloth on {b.his} head.",
    )
    t.maybe(
        0.6,
        "{b} drank the {g} and slept.",
        "the {g} was good, and {b} felt better.",
        g=gift.split()[-1] if gift.startswith("a bowl") else gift.split(" with")[0],
    )
    t.paragraph()
    t.say(
        "after {n} days {b} was well again.",
        "day by day {b} grew stronger, and then {b.he} was well.",
        n=t.pick(("two", "three", "four", "five")),
    )
    t.say(
        '"thank you, {a}," said {b}.', "{b} jumped out of bed and danced.", "{b} {b.hobbied} again."
    )
    if t.chance(0.5):
        t.say("but now {a} had {w}!", "the next week {a} was ill with {w}.", w=wrong)
        t.say("so {b} cooked {g} for {a.him}.", "this time {b} brought {g} to {a}.", g=gift)
        t.say("soon {a} was well, too.", "that is what friends do.")
    happy_end(t, True)


PLOTS = (
    plot_lost,
    plot_rain,
    plot_hungry,
    plot_gift,
    plot_garden,
    plot_stuck,
    plot_build,
    plot_noise,
    plot_race,
    plot_broken,
    plot_count,
    plot_learn,
    plot_trade,
    plot_snow,
    plot_way_home,
    plot_ill,
)

# ------------------------------------------------------------------------------------- the splits


def split_of(story):
    """The only split in which this story may appear."""
    digit = int.from_bytes(hashlib.sha256(story.encode("utf-8")).digest()[:8], "big") % 10
    return "train" if digit < 8 else "calib" if digit == 8 else "valid"


def stories(split, seed=0):
    """Yield stories of one split without end; the same split and seed give the same stories."""
    if split not in SPLITS:
        raise ValueError("split must be one of " + ", ".join(SPLITS))
    rng = random.Random("prunus stories, {} split, seed {}".format(split, seed))
    seen = set()
    while True:
        teller = Teller(rng)
        teller.pick(PLOTS)(teller)
        story = teller.text()
        if len(story) > MAX_CHARACTERS or split_of(story) != split:
            continue
        digest = hashlib.sha256(story.encode("utf-8")).digest()[:12]
        if digest not in seen:
            seen.add(digest)
            yield story


def make(split, count, seed=0):
    """The first `count` stories of a split, as a list."""
    source = stories(split, seed)
    return [next(source) for _ in range(count)]


def main(arguments=None):
    parser = argparse.ArgumentParser(
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Write short children's stories from a seeded grammar.\n\n"
        "A story has two to four paragraphs on lines of their own, about 120 words in all.\n"
        "The same options always write the same file.  No story occurs in two splits,\n"
        "whatever the seeds, so a model trained on 'train' has never seen 'valid'.",
        epilog="examples:\n"
        "  %(prog)s --split calib --stories 100 --out calib.txt\n"
        "      a hundred stories with one blank line between them, to calibrate a pruning run\n"
        "  %(prog)s --split valid --stories 200 --format jsonl --out valid.jsonl\n"
        '      one {"text": ...} object per line, to measure perplexity story by story\n'
        "  %(prog)s --split train --stories 3 --seed 7 --out -\n"
        "      print three stories to look at them",
    )
    parser.add_argument("--split", required=True, choices=SPLITS, help="which split to draw from")
    parser.add_argument("--stories", required=True, type=int, metavar="N", help="how many stories")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="another seed gives other stories of the same split (default 0)",
    )
    parser.add_argument(
        "--format",
        choices=("txt", "jsonl"),
        default="txt",
        help="txt: a blank line between stories; jsonl: an object per line (default txt)",
    )
    parser.add_argument(
        "--out", required=True, metavar="FILE", help="file to write, or - for standard output"
    )
    options = parser.parse_args(arguments)
    if options.stories < 1:
        parser.error("--stories must be at least 1")
    told = make(options.split, options.stories, options.seed)
    if options.format == "txt":
        text = "\n\n".join(told) + "\n"
    else:
        text = "".join(json.dumps({"text": story}) + "\n" for story in told)
    if options.out == "-":
        sys.stdout.write(text)
        return
    # A reader must never see half a file, so the final name appears only when all is written.
    temporary = "{}.tmp{}".format(options.out, os.getpid())
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        os.replace(temporary, options.out)
    except OSError as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        sys.exit("cannot write {}: {}".format(options.out, error.strerror))


if __name__ == "__main__":
    main()
