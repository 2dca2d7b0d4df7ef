"""The built book in one file, as somebody without the repository and without the internet has it."""

from playwright.sync_api import expect

ZIP = "the-adversarial-game"


def test_it_holds_every_file_of_the_pages(archive, html):
    files = {f"{ZIP}/{path.relative_to(html).as_posix()}": path for path in html.rglob("*") if path.is_file()}
    assert files.keys() == {name for name in archive.namelist() if not name.endswith("/")}
    assert all(archive.read(name) == path.read_bytes() for name, path in files.items())


def test_the_same_pages_give_the_same_bytes(archive):
    assert len({file.date_time for file in archive.infolist()}) == 1
    folders = [name.split("/") for name in archive.namelist()]
    assert folders == sorted(folders)


def test_it_can_be_sent_by_mail(archive):
    assert sum(file.compress_size for file in archive.infolist()) < 25e6


def test_its_figures_move_wherever_it_is_unpacked(archive, opened, tmp_path):
    folder = tmp_path / "Bücher & Spiele" / "对抗 100 %"
    archive.extractall(folder)
    with opened(f"{(folder / ZIP).as_uri()}/kl-divergence.html") as (page, wrong):
        host = page.locator(".live").first
        host.scroll_into_view_if_needed()
        numbers = host.locator(".live-numbers")
        before = numbers.text_content()
        host.get_by_role("slider").first.press("End")
        expect(numbers).not_to_have_text(before)
        assert not wrong, "\n" + "\n".join(wrong)
