"""What the seeded shop sells, and who buys there: all of it invented."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple


class Ware(NamedTuple):
    """A product of the catalogue; ``weight`` is how often it is bought."""

    product_id: str
    name: str
    section: str
    price: Decimal
    weight: int
    restocked: bool = True


def _ware(product_id: str, name: str, section: str, price: str, weight: int, restocked: bool = True) -> Ware:
    return Ware(product_id, name, section, Decimal(price), weight, restocked)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WARES = (
    _ware("kozo-natural", "Kozo paper, natural, 10 sheets", "Paper", "18.50", 9),
    _ware("kozo-indigo", "Kozo paper, indigo, 10 sheets", "Paper", "21.00", 7),
    _ware("cotton-rag", "Cotton rag paper, 25 sheets", "Paper", "24.90", 8),
    _ware("grid-pad", "Grid pad, A5", "Paper", "6.20", 14),
    _ware("tracing-roll", "Tracing roll, 20 m", "Paper", "14.40", 5),
    _ware("squares-15", "Folding squares, 15 cm, 100 sheets", "Paper", "8.90", 16),
    _ware("squares-30", "Folding squares, 30 cm, 50 sheets", "Paper", "12.90", 9),
    _ware("marbled", "Marbled endpapers, pair", "Paper", "11.00", 4, restocked=False),
    _ware("wax-paper", "Waxed tissue, 24 sheets", "Paper", "7.80", 6),
    _ware("notebook-lay", "Lay-flat notebook, dotted", "Notebooks", "16.00", 15),
    _ware("notebook-linen", "Linen notebook, ruled", "Notebooks", "19.50", 11),
    _ware("field-book", "Field book, waterproof", "Notebooks", "13.20", 9),
    _ware("ledger", "Double-entry ledger", "Notebooks", "27.00", 4),
    _ware("sketchbook", "Concertina sketchbook", "Notebooks", "22.50", 8),
    _ware("day-planner", "Undated day planner", "Notebooks", "24.00", 7),
    _ware("bone-folder", "Bone folder", "Tools", "9.40", 13),
    _ware("awl", "Bookbinder's awl", "Tools", "12.70", 6),
    _ware("steel-rule", "Steel rule, 30 cm", "Tools", "10.90", 10),
    _ware("cutting-mat", "Cutting mat, A3", "Tools", "26.00", 6),
    _ware("craft-knife", "Craft knife with ten blades", "Tools", "11.50", 9),
    _ware("linen-thread", "Waxed linen thread, 50 m", "Tools", "8.60", 10),
    _ware("needle-set", "Binding needles, set of five", "Tools", "5.40", 8),
    _ware("press", "Tabletop book press", "Tools", "148.00", 1),
    _ware("scoring-board", "Scoring board", "Tools", "34.00", 4),
    _ware("ink-soot", "Ink, soot black, 50 ml", "Ink", "13.80", 11),
    _ware("ink-slate", "Ink, slate blue, 50 ml", "Ink", "13.80", 10),
    _ware("ink-brick", "Ink, brick red, 50 ml", "Ink", "13.80", 7),
    _ware("dip-pen", "Dip pen with three nibs", "Ink", "17.90", 8),
    _ware("brush-no4", "Round brush, no. 4", "Ink", "15.60", 6),
    _ware("blotter", "Rocker blotter", "Ink", "29.00", 2, restocked=False),
    _ware("envelope-c6", "Envelopes C6, laid, 25 pieces", "Letters", "9.90", 12),
    _ware("letter-set", "Letter set, deckle edge", "Letters", "23.00", 7),
    _ware("sealing-wax", "Sealing wax, four sticks", "Letters", "14.20", 5),
    _ware("stamp-fold", "Rubber stamp, folded crane", "Letters", "8.20", 6),
    _ware("postcard-blank", "Blank postcards, 20 pieces", "Letters", "7.50", 10),
    _ware("kit-crane", "Kit: a thousand cranes", "Kits", "39.00", 5),
    _ware("kit-binding", "Kit: your first binding", "Kits", "46.00", 6),
    _ware("kit-lantern", "Kit: paper lantern", "Kits", "32.50", 5),
    _ware("kit-popup", "Kit: pop-up cards", "Kits", "28.00", 5),
    _ware("lamp-pleated", "Pleated lampshade", "Kits", "84.00", 2),
)

GIVEN = _names(
    """
    Ada Alma Anselm Aurel Benno Birte Bram Cato Celia Clio Dario Delia Edda Elio Elsa Emre Enno Esra
    Fenna Fritz Gesa Greta Hanno Hedda Ida Ilse Imre Ines Ivo Jana Jonna Juno Kaja Kalle Lale Lena Leto
    Liv Lorin Malin Marek Mila Mira Nele Nilo Noor Odile Olin Orla Otis Pia Quinn Ravi Ronja Rune Selma
    Silas Sunna Tarek Thea Tilda Uma Vera Viggo Wanda Willa Yara Yusuf Zeno Zora
    """
)

FAMILY = _names(
    """
    Abendroth Achterberg Almquist Amsel Bellweather Birkholm Blackmere Brandvold Brightwater Calder
    Castellane Corvin Dahlgren Dornfeld Eastwick Eberlein Ellerby Falkner Fenwick Fernhill Galloway
    Glass Greenhow Halvorsen Harrow Hazelden Holloway Ibsing Juniper Kaltenbach Kestrel Kirschner
    Lachner Larkspur Lindqvist Lockwood Marlow Meriden Mosswood Nordahl Northgate Oakes Okonjo Pemberly
    Penrose Quill Rasmus Redfern Rosendahl Sandoval Saltmarsh Silverthorn Sorrel Stonebridge Tamsin
    Thornquist Underhill Vantongeren Vesterby Wainwright Weatherby Wintergreen Yarrow Zabel Zimmer
    """
)

STREETS = (
    "Alder Row",
    "Bindery Lane",
    "Chapel Rise",
    "Deckle Street",
    "Ferry Steps",
    "Garden Quay",
    "Hill Street",
    "Inkwell Court",
    "Junction Road",
    "Kiln Lane",
    "Lantern Street",
    "Mill Race",
    "North Parade",
    "Orchard Way",
    "Papermaker's Yard",
    "Quarry Road",
    "Ropewalk",
    "Station Square",
    "Tannery Wharf",
    "Upper Green",
    "Vine Passage",
    "Weaver's Close",
)

TOWNS = (
    ("Altenfurt", "Germany", "97%03d"),
    ("Brunnhaven", "Denmark", "4%03d"),
    ("Castelvento", "Italy", "37%03d"),
    ("Dunmarrow", "Ireland", "D%02d K7P4"),
    ("Eikelo", "Netherlands", "74%02d EK"),
    ("Fontclaire", "France", "38%03d"),
    ("Grauwald", "Austria", "8%03d"),
    ("Hallsund", "Sweden", "591 %02d"),
    ("Isola Bassa", "Italy", "30%03d"),
    ("Kirkeby", "Denmark", "5%03d"),
    ("Lindenau am See", "Germany", "88%03d"),
    ("Montserre", "France", "63%03d"),
    ("Oudekade", "Belgium", "9%03d"),
    ("Valdoro", "Spain", "22%03d"),
)

CARRIERS = (("Heron Post", "HP"), ("Marten Parcels", "MP"), ("Blue Mule", "BM"))

REASONS = ("Ordered by mistake", "Found it elsewhere", "Would take too long", "Wrong address")
