"""A page that shows networks' predictions for a video: classes, scores over time, maps."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slowfast_ac.data.views import Views
from slowfast_ac.errors import InputError
from slowfast_ac.files import StrPath
from slowfast_ac.inference.load import TrainedModel
from slowfast_ac.inference.predict import Prediction
from slowfast_ac.visualization.findings import Findings, draw_maps, find

if TYPE_CHECKING:
    import gradio

TOP = 5
# Makes the browser refuse the scripts and fonts that Gradio's page loads from elsewhere.
_POLICY = b"default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"


def build_page(
    models: Mapping[str, TrainedModel], folder: StrPath, views: Views
) -> "gradio.Blocks":
    """Returns the page.

    Args:
        models: one network, or two that are shown side by side, by their names.
        folder: for uploaded videos and answers.
        views: of a whole video, whose scores are averaged.
    """
    import gradio

    with gradio.Blocks(title="slowfast_ac", analytics_enabled=False) as page:
        gradio.Markdown("# Which action is it?")
        video = gradio.Video(label="Video: a file or the camera", sources=["upload", "webcam"])
        button = gradio.Button("Name the action", variant="primary")
        status = gradio.HTML(_line("Choose a video, then press the button."))
        with gradio.Column(visible=False) as answers:
            with gradio.Row():
                columns = [_column(name) for name in models]
            outputs = [component for column in columns for component in column]
            outputs += [gradio.HTML(), gradio.Video(interactive=False, show_label=False, loop=True)]

        def answer(path: str | None) -> list[object]:
            nothing = [gradio.Column(visible=False), *[None] * len(outputs)]
            if path is None:
                return [_line("There is no video yet: choose one first.", "alert"), *nothing]
            try:
                found = find(models, path, folder, views, TOP)
                first = next(iter(found))
                surest = max(found[first].windows, key=lambda window: window.scores.max())
                maps = draw_maps(models, path, folder, surest)
            except InputError as error:
                message = str(error).replace(path, Path(path).name)
                return [_line(message, "alert"), *nothing]
            names = {name: _best(models[name], findings.whole) for name, findings in found.items()}
            text = "; ".join(f"{name}: {best} {score:.2f}" for name, (best, score) in names.items())
            values = [value for name in found for value in _values(models[name], found[name])]
            best, _ = _best(models[first], surest)
            heading = f"Attention for {best}, {surest.start:.2f} to {surest.end:.2f} s"
            if maps is None:
                heading = (
                    "No maps of attention: programs have none (open the weights instead), nor have "
                    "X3D and transformers."
                )
            values += [f"<h2>{html.escape(heading)}</h2>", _shown(gradio.Video, maps)]
            return [_line(text), gradio.Column(visible=True), *values]

        button.click(answer, video, [status, answers, *outputs], api_visibility="private")
    return page


def _column(name: str) -> "list[gradio.components.Component]":
    import gradio

    with gradio.Column():
        gradio.HTML(f"<h2>{html.escape(name)}</h2>")
        return [
            gradio.Label(label="Scores of the whole video", num_top_classes=TOP),
            gradio.Image(
                alt_text="Scores over time; the table below has them as text",
                interactive=False,
                show_label=False,
                buttons=["download", "fullscreen"],
            ),
            gradio.HTML(),
        ]


def _values(model: TrainedModel, findings: Findings) -> list[object]:
    import gradio

    scores = findings.whole.scores
    names = {model.class_name(number): float(scores[number]) for number in findings.whole.top(TOP)}
    rows = ["<th>time</th><th>best class</th><th>score</th>"]
    for window in findings.windows:
        best, score = _best(model, window)
        cells = (f"{window.start:.2f} to {window.end:.2f} s", html.escape(best), f"{score:.2f}")
        rows.append("".join(f"<td>{cell}</td>" for cell in cells))
    table = "".join(f"<tr>{row}</tr>" for row in rows)
    table = f"<details><summary>Best class of each clip</summary><table>{table}</table></details>"
    return [names, _shown(gradio.Image, findings.timeline), table]


def _best(model: TrainedModel, prediction: Prediction) -> tuple[str, float]:
    [best] = prediction.top(1)
    return model.class_name(best), float(prediction.scores[best])


def _shown(kind: type[Any], path: Path | None) -> object:
    return kind(None if path is None else str(path), visible=path is not None)


def _line(text: str, role: str = "status") -> str:
    return f'<p role="{role}">{html.escape(text)}</p>'


def serve(page: "gradio.Blocks", host: str, port: int | None) -> str:
    """Starts a server in the background and returns the page's address.

    Args:
        page: the page.
        host: the address to listen on.
        port: by default the first free one from 7860 on.

    Raises:
        InputError: if the port is taken, or the address is not one of this machine's.
    """
    try:
        _, url, _ = page.launch(
            server_name=host,
            server_port=port,
            share=False,
            quiet=True,
            prevent_thread_lock=True,
            footer_links=[],
            css="video { max-height: 24rem }",
            ssr_mode=False,
            app_kwargs={"middleware": [(_OwnAddressOnly, (), {})]},
        )
    except OSError as error:
        raise InputError(f"--port: {error}") from error
    return str(url)


class _OwnAddressOnly:
    """ASGI middleware that tells the browser to load nothing from elsewhere."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY)
                message = {**message, "headers": [*message["headers"], policy]}
            await send(message)

        await self._app(scope, receive, send_with_policy)
